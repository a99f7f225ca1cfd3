//! Which mine reads which server: two connections may lead to one server, and nobody knows before both have answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The servers that are read into logs which nobody named: of each, there is one in a store.
#[derive(Debug, Default)]
pub struct Claims(Mutex<BTreeMap<(String, String), Held>>);

#[derive(Debug)]
struct Held {
    mine: String,
    alive: Weak<()>,
}

/// A mine's right to read a server, which it takes when it knows the server's identity.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    store: String,
    alive: Arc<()>,
    lost_to: Mutex<Option<String>>,
}

impl Claim {
    /// For a mine whose log lies in `store`. It ends with this value.
    pub fn new(claims: &Arc<Claims>, store: impl Into<String>) -> Claim {
        let (claims, store, alive) = (Arc::clone(claims), store.into(), Arc::new(()));
        Claim { claims, store, alive, lost_to: Mutex::default() }
    }

    /// Takes the server with this identity for `mine`.
    ///
    /// # Errors
    /// The name of the mine that reads it already.
    pub fn take(&self, identity: &str, mine: &str) -> Result<(), String> {
        let mut claims = self.claims.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|_, held| held.alive.strong_count() > 0);
        let mine = Held { mine: mine.to_owned(), alive: Arc::downgrade(&self.alive) };
        let held = claims.entry((self.store.clone(), identity.to_owned())).or_insert(mine);
        let is_ours = held.alive.ptr_eq(&Arc::downgrade(&self.alive));
        let lost_to = (!is_ours).then(|| held.mine.clone());
        self.lost_to.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&lost_to);
        lost_to.map_or(Ok(()), Err)
    }

    /// The mine that reads the server already, when that was found out.
    pub fn lost_to(&self) -> Option<String> {
        self.lost_to.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_is_claimed_once_in_a_store_until_the_claim_ends() {
        let claims = Arc::default();
        let (one, other, elsewhere) =
            (Claim::new(&claims, ""), Claim::new(&claims, ""), Claim::new(&claims, "mongo"));
        assert_eq!(one.take("a", "shop"), Ok(()));
        assert_eq!(one.take("a", "shop"), Ok(()));
        assert_eq!(other.take("a", "till"), Err("shop".into()));
        assert_eq!(other.lost_to().as_deref(), Some("shop"));
        assert_eq!(elsewhere.take("a", "till"), Ok(()));
        assert_eq!(other.take("b", "till"), Ok(()));
        drop(one);
        assert_eq!(other.take("a", "till"), Ok(()));
        assert_eq!(other.lost_to(), None);
    }
}
