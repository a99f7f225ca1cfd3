//! Reads scripts and what they include. Each file is read once, however often it is included.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::declaration::{AsRead, Declaration};
use super::grants::grants;
use super::secrets::{mask_secrets, secret_keys};
use super::{Input, Kinds, Outside, Source};
use crate::lang::ast::{Include, Spanned, Statement};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::parse::parse;
use crate::lang::span::{SourceId, SourceMap, Span};
use crate::model::hook::{Grant, HookModule};
use crate::model::secret::Secret;

/// So many files may belong together; more are most likely a mistake.
pub const FILES_MAX: usize = 256;

/// Scripts with everything that they include.
#[derive(Debug, Default)]
pub struct ScriptSet {
    /// The texts. Secrets that stand in them are masked.
    pub sources: SourceMap,
    /// All statements but `include`, each file's at the place of its first include.
    pub statements: Vec<Spanned<Statement>>,
    /// The included modules of hooks.
    pub modules: Arc<Vec<HookModule>>,
    /// Where the modules' texts are, and where they were included, in the same order.
    pub module_places: Vec<(SourceId, Span)>,
    /// What is wrong with the texts and their includes.
    pub diagnostics: Vec<Diagnostic>,
    /// The scripts as they were read.
    pub read: AsRead,
    /// Values that a typed statement gives; `--set` is older.
    pub typed_lets: BTreeSet<String>,
    /// The texts that are not included by others, in their order.
    pub(super) roots: Vec<SourceId>,
    /// What became of statements whose places were taken, or which were taken out.
    pub(super) replaced: BTreeMap<Place, Option<Place>>,
    /// Where a text includes another one for the first time.
    pub(super) included: BTreeMap<Place, SourceId>,
    /// The texts of the scripts with what is masked in `sources`.
    pub(super) texts: BTreeMap<SourceId, Secret>,
    folders: BTreeMap<SourceId, PathBuf>,
}

/// Where a statement begins.
pub(super) type Place = (SourceId, u32);

/// The place of a statement.
pub(super) fn place(span: Span) -> Place {
    (span.source, span.start)
}

impl ScriptSet {
    /// The folder that paths in this text are relative to.
    pub fn folder(&self, source: SourceId) -> &Path {
        self.folders.get(&source).map_or(Path::new("/"), PathBuf::as_path)
    }

    /// `path` of a setting or statement at `span`, made absolute.
    pub fn absolute(&self, path: &str, span: Span) -> PathBuf {
        normalize(&self.folder(span.source).join(path))
    }
}

/// Reads the scripts of `input` with everything that they include.
pub fn load(input: &Input, kinds: &Kinds, outside: &dyn Outside) -> ScriptSet {
    let mut loader = Loader {
        outside,
        secret_keys: secret_keys(kinds),
        set: ScriptSet::default(),
        read: &input.read,
        modules: Vec::new(),
        open: Vec::new(),
        done: BTreeSet::new(),
        is_typed: false,
        turn: 0,
        turns: Vec::new(),
    };
    for script in &input.scripts {
        let first = SourceId(loader.set.sources.iter().count() as u32);
        loader.is_typed = matches!(script, Source::Typed { .. });
        match script {
            Source::Text { name, text } => loader.script(name, text, input.base_dir.clone()),
            Source::File(path) => loader.file(path, &normalize(&input.base_dir.join(path)), None),
            Source::Typed { name, text, folder } => {
                loader.turn += 1;
                loader.script(name, text, folder.clone());
            }
            Source::Without(declared) => loader.take_out(declared),
        }
        // One that was read before has nothing new.
        if loader.set.sources.get(first).is_some() {
            loader.set.roots.push(first);
        }
    }
    loader.finish()
}

/// Resolves `.` and `..` in the text of an absolute path, without looking at the file system.
pub(super) fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

struct Loader<'a> {
    outside: &'a dyn Outside,
    secret_keys: BTreeSet<&'static str>,
    set: ScriptSet,
    modules: Vec<HookModule>,
    /// The files that are being read, outermost first, by absolute path and as they are shown.
    open: Vec<(PathBuf, String)>,
    done: BTreeSet<PathBuf>,
    read: &'a AsRead,
    /// Whether what is read now was typed.
    is_typed: bool,
    /// How many typed texts there were.
    turn: usize,
    /// In the order of the statements: which typed text brought each of them.
    turns: Vec<usize>,
}

impl Loader<'_> {
    fn finish(mut self) -> ScriptSet {
        self.set.modules = Arc::new(self.modules);
        let mut declared: Vec<Declaration> = Vec::new();
        for one in self.set.statements.iter().filter_map(Declaration::of) {
            if !declared.contains(&one) {
                declared.push(one);
            }
        }
        self.set.read.declared = declared;
        self.set
    }

    /// Puts a statement behind the others, or, where it was typed, in the place of the earlier one of its name.
    fn put(&mut self, statement: Spanned<Statement>) {
        if !self.is_typed {
            self.turns.push(self.turn);
            return self.set.statements.push(statement);
        }
        if let Statement::Let(binding) = &statement.node {
            self.set.typed_lets.insert(binding.name.node.clone());
        }
        let earlier = Declaration::of(&statement).and_then(|declared| {
            let is_earlier = |at: &usize| {
                self.turns[*at] < self.turn
                    && Declaration::of(&self.set.statements[*at]).as_ref() == Some(&declared)
            };
            (0..self.turns.len()).find(is_earlier)
        });
        match earlier {
            Some(at) => {
                let before = place(self.set.statements[at].span);
                self.set.replaced.insert(before, Some(place(statement.span)));
                self.set.statements[at] = statement;
                self.turns[at] = self.turn;
            }
            None => {
                self.turns.push(self.turn);
                self.set.statements.push(statement);
            }
        }
    }

    fn take_out(&mut self, declared: &Declaration) {
        for at in (0..self.turns.len()).rev() {
            if Declaration::of(&self.set.statements[at]).as_ref() == Some(declared) {
                let gone = self.set.statements.remove(at);
                self.turns.remove(at);
                self.set.replaced.insert(place(gone.span), None);
            }
        }
    }

    /// The text of a file, as it was read earlier or as it is now.
    fn text(&mut self, path: &Path) -> io::Result<String> {
        let text = match self.read.text(path) {
            Some(text) => text,
            None => self.outside.read(path)?,
        };
        self.set.read.texts.insert(path.to_owned(), text.as_str().into());
        Ok(text)
    }

    /// Reads a script. `shown` is its name in messages, `included` the path in the `include` statement.
    fn file(&mut self, shown: &Path, path: &Path, included: Option<Span>) {
        let name = shown.display().to_string();
        if let Some(start) = self.open.iter().position(|(open, _)| open == path) {
            return self.cycle(start, &name, included);
        }
        if self.done.contains(path) || self.too_many(included) {
            return;
        }
        self.done.insert(path.to_owned());
        let text = match self.text(path) {
            Ok(text) => text,
            Err(error) => return self.unreadable(&name, path, included, &error),
        };
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        self.open.push((path.to_owned(), name.clone()));
        self.script(&name, &text, folder);
        self.open.pop();
    }

    fn script(&mut self, name: &str, text: &str, folder: PathBuf) {
        let id = self.set.sources.add(name, mask_secrets(text, &self.secret_keys));
        self.set.folders.insert(id, folder);
        self.set.texts.insert(id, Secret::new(text));
        let (script, mut findings) = parse(id, text);
        self.set.diagnostics.append(&mut findings);
        for statement in script.statements {
            match &statement.node {
                Statement::Include(include) => {
                    let next = SourceId(self.set.sources.iter().count() as u32);
                    self.include(include, name);
                    if self.set.sources.get(next).is_some() {
                        self.set.included.insert(place(statement.span), next);
                    }
                }
                Statement::Command(command) if self.is_typed => {
                    let what = format!("`{}` stands among statements", command.verb.as_str());
                    let finding = Diagnostic::new(Code::E0512, statement.span, what);
                    self.set.diagnostics.push(finding.help("give it by itself"));
                }
                _ => self.put(statement),
            }
        }
    }

    fn include(&mut self, include: &Include, from: &str) {
        let span = include.path.span;
        let path = self.set.absolute(&include.path.node, span);
        let shown =
            normalize_shown(&Path::new(from).parent().unwrap_or(Path::new("")).join(&include.path.node));
        match Path::new(&include.path.node).extension().and_then(|extension| extension.to_str()) {
            Some("lode") => {
                if let Some(block) = include.settings.span() {
                    let what = "only a module of hooks (`.rhai`) takes settings behind its include";
                    let finding = Diagnostic::new(Code::E0301, block, what);
                    self.set.diagnostics.push(finding.help("say in that script what its own modules may do"));
                }
                self.file(&shown, &path, Some(span));
            }
            Some("rhai") => {
                let allow = grants(include, &mut self.set.diagnostics);
                self.module(&shown, &path, span, allow);
            }
            _ => self.set.diagnostics.push(
                Diagnostic::new(
                    Code::E0211,
                    span,
                    format!("`{}` is neither a script nor a module of hooks", include.path.node),
                )
                .label("the name must end in `.lode` or `.rhai`"),
            ),
        }
    }

    fn module(&mut self, shown: &Path, path: &Path, span: Span, allow: Option<Vec<Grant>>) {
        let known = self.modules.iter().position(|module| module.path == path);
        if let Some(other) = known.filter(|known| self.modules[*known].allow != allow) {
            let finding = Diagnostic::new(
                Code::E0302,
                span,
                "this module is included twice, and may do different things",
            )
            .related(self.set.module_places[other].1, "the first time")
            .help("write the same allow = […] at both places, or none");
            return self.set.diagnostics.push(finding);
        }
        if self.done.contains(path) || self.too_many(Some(span)) {
            return;
        }
        self.done.insert(path.to_owned());
        let text = match self.text(path) {
            Ok(text) => text,
            Err(error) => return self.unreadable(&shown.display().to_string(), path, Some(span), &error),
        };
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if !is_identifier(&name) {
            let finding = Diagnostic::new(
                Code::E0211,
                span,
                format!("`{name}` cannot be the name of a module of hooks"),
            )
            .help("name the file with letters, digits and `_`, so that `name::function` can be written");
            return self.set.diagnostics.push(finding);
        }
        if let Some(other) = self.modules.iter().position(|module| module.name == name) {
            let finding =
                Diagnostic::new(Code::E0202, span, format!("there are two modules of hooks named `{name}`"))
                    .label("a module is named after its file")
                    .related(self.set.module_places[other].1, "the other one")
                    .help("rename one of the files");
            return self.set.diagnostics.push(finding);
        }
        let id = self.set.sources.add(shown.display().to_string(), text.as_str());
        self.set.module_places.push((id, span));
        self.modules.push(HookModule { name, path: path.to_owned(), text: text.into(), allow });
    }

    fn too_many(&mut self, included: Option<Span>) -> bool {
        let too_many = self.done.len() >= FILES_MAX;
        if let (true, Some(span)) = (too_many, included) {
            let finding =
                Diagnostic::new(Code::E0209, span, format!("more than {FILES_MAX} files are included"));
            self.set.diagnostics.push(finding);
        }
        too_many
    }

    fn cycle(&mut self, start: usize, name: &str, included: Option<Span>) {
        // A script that is named twice on the command line is no cycle: nothing is open then.
        let Some(span) = included else { return };
        let chain: Vec<&str> =
            self.open[start..].iter().map(|(_, shown)| shown.as_str()).chain([name]).collect();
        let finding = Diagnostic::new(Code::E0210, span, format!("`{name}` includes itself"))
            .label("this closes the circle")
            .note(chain.join(" -> "))
            .help("move what both need into a third file, and include that");
        self.set.diagnostics.push(finding);
    }

    fn unreadable(&mut self, name: &str, path: &Path, included: Option<Span>, error: &io::Error) {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => error.to_string(),
        };
        let span = included.unwrap_or_else(|| Span::new(self.set.sources.add(name, ""), 0..0));
        let mut finding = Diagnostic::new(Code::E0209, span, format!("cannot read `{name}`: {reason}"))
            .note(format!("looked for {}", path.display()));
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        let nearby = path.parent().map(|folder| self.outside.list(folder)).unwrap_or_default();
        if let Some(near) = did_you_mean(file, nearby.iter().map(String::as_str)).filter(|near| *near != file)
        {
            finding = match included {
                Some(span) => {
                    let written = self.set.sources.slice(span);
                    let replacement = written.replacen(file, near, 1);
                    finding.suggest(span, replacement, format!("there is a file named `{near}`"))
                }
                None => finding.help(format!("there is a file named `{near}`")),
            };
        } else if included.is_some() {
            finding = finding.help("paths are relative to the file that includes");
        }
        self.set.diagnostics.push(finding);
    }
}

/// Resolves `.` and `a/..` in a path that may be relative.
fn normalize_shown(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        let can_go_up = matches!(normal.components().next_back(), Some(Component::Normal(_)));
        match component {
            Component::CurDir => {}
            Component::ParentDir if can_go_up => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
}
