//! temp
use crate::error::{Error, Result};
use crate::model::change::Change;
use crate::plan::StagePlan;
#[allow(missing_docs)]
pub struct Stages;
#[allow(missing_docs)]
impl Stages {
    pub fn compile(_: &[StagePlan], _: &str) -> Result<Stages> {
        Ok(Stages)
    }
    pub fn apply(&mut self, c: Change, out: &mut Vec<Change>) -> Result<(), Error> {
        out.push(c);
        Ok(())
    }
}
