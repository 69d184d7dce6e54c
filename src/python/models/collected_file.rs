//! `CollectedFile`.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;

use super::common::{common_methods, into_model};
use super::json_ready::json_dict;
use super::shared::Shared;
use crate::model;

/// A file that was collected from a device.
#[pyclass(frozen, module = "mde_live_response")]
pub struct CollectedFile {
    core: Shared<model::CollectedFile>,
}

into_model! { model::CollectedFile => CollectedFile {} }

json_dict! { model::CollectedFile, |file| {
    "remote_path": file.remote_path,
    "path": file.path.as_ref().map(Path::new),
    "name": file.name,
    "size": file.size,
    "sha256": file.sha256,
    "payload": file.payload.name(),
    "received_size": file.received_size,
    "received_sha256": file.received_sha256,
} }

common_methods! {
    CollectedFile;
    equal: |one, other| one == other;
    hash: |file| file;
    methods {
        /// The path on the device.
        #[getter]
        fn remote_path(&self) -> &str {
            &self.core.remote_path
        }

        /// Where it was saved. None if it was written to a file object or read from an
        /// iterator.
        #[getter]
        fn path(&self) -> Option<PathBuf> {
            self.core.path.as_ref().map(PathBuf::from)
        }

        /// The file's name, safe on any file system: from the payload, else from `remote_path`.
        #[getter]
        fn name(&self) -> &str {
            &self.core.name
        }

        /// The size of the file after unpacking, in bytes.
        #[getter]
        fn size(&self) -> u64 {
            self.core.size
        }

        /// SHA-256 of the file after unpacking, in lower-case hexadecimal.
        #[getter]
        fn sha256(&self) -> &str {
            &self.core.sha256
        }

        /// The payload's format, detected by its first bytes. A `gzip` was unpacked; `zip`,
        /// `json` and `other` are saved as received.
        #[getter]
        fn payload(&self) -> &str {
            self.core.payload.name()
        }

        /// The size of the payload as received, in bytes.
        #[getter]
        fn received_size(&self) -> u64 {
            self.core.received_size
        }

        /// SHA-256 of the payload as received, in lower-case hexadecimal.
        #[getter]
        fn received_sha256(&self) -> &str {
            &self.core.received_sha256
        }

        fn __repr__(&self) -> String {
            format!("<CollectedFile {:?}: {} bytes>", self.core.remote_path, self.core.size)
        }
    }
}
