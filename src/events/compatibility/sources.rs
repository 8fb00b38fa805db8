//! The schemas' sources in memory, to be changed and compiled.

use std::collections::BTreeMap;

use prost_types::FileDescriptorSet;
use protox::Compiler;
use protox::file::{File, FileResolver};

/// Sources of schemas, by the name that imports use. Not a file is written.
#[derive(Clone)]
pub(crate) struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Those of `schemas/`.
    pub(crate) fn read() -> Self {
        let schemas = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let mut named = BTreeMap::new();
        for package in ["segue/v1", "segue/fleet/v1"] {
            let entries = std::fs::read_dir(schemas.join(package)).expect("the schemas are there");
            for path in entries.map(|entry| entry.expect("readable").path()) {
                let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
                named.insert(format!("{package}/{name}"), std::fs::read_to_string(&path).expect("text"));
            }
        }
        Self(named)
    }

    /// The same with a text replaced that stands in the file once.
    pub(crate) fn with(mut self, file: &str, from: &str, to: &str) -> Self {
        let source = self.0.entry(format!("segue/v1/{file}.proto")).or_default();
        assert_eq!(source.matches(from).count(), 1, "{file}: {from:?} does not stand there once");
        *source = source.replace(from, to);
        self
    }

    /// What a compiler makes of them, with the comments.
    pub(crate) fn compile(&self) -> FileDescriptorSet {
        let mut compiler = Compiler::with_file_resolver(self.clone());
        compiler.include_imports(true).include_source_info(true);
        compiler.open_files(self.0.keys()).expect("the schemas compile");
        compiler.file_descriptor_set()
    }
}

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let source = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, source)
    }
}
