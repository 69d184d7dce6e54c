//! Compares a folder with the library. Makes no request.

use std::collections::{HashMap, HashSet};

use super::folder::{Folder, FolderFile};
use crate::library::mark::SyncMark;
use crate::library::{has_description, has_digest, has_parameters};
use crate::model::LibraryFile;

/// The library as it was listed once.
pub struct Listing(HashMap<String, Vec<LibraryFile>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Add,
    Replace,
    Describe,
    Delete,
    /// The file stays as it is.
    Leave,
}

/// A file that the sync covers: one of the folder, or one that an earlier sync uploaded.
#[derive(Debug)]
pub struct Item<'a> {
    pub change: Change,
    /// Its name, as the library writes it.
    pub name: String,
    /// The folder's file. None: the folder has none.
    pub file: Option<&'a FolderFile>,
    /// The library's file when the plan was made. None: it had none.
    pub planned: Option<LibraryFile>,
}

/// What the sync does.
#[derive(Debug)]
pub struct Comparison<'a> {
    collection: &'a str,
    pub items: Vec<Item<'a>>,
    /// The files of others.
    pub others: Vec<String>,
    /// Those of `others` that the folder has with other content.
    pub conflicts: Vec<LibraryFile>,
}

impl Listing {
    pub fn new(files: Vec<LibraryFile>) -> Self {
        let mut by_name: HashMap<String, Vec<LibraryFile>> = HashMap::new();
        for file in files {
            by_name.entry(file.file_name.to_ascii_lowercase()).or_default().push(file);
        }
        Self(by_name)
    }

    /// Returns the file of this name, preferably in the same capitals.
    pub fn find(&self, name: &str) -> Option<&LibraryFile> {
        let namesakes = self.0.get(&name.to_ascii_lowercase())?;
        namesakes.iter().find(|file| file.file_name == name).or_else(|| namesakes.first())
    }
}

impl<'a> Comparison<'a> {
    pub fn new(folder: &'a Folder, listing: &Listing, delete: bool) -> Self {
        let mut this = Self {
            collection: &folder.collection,
            items: Vec::new(),
            others: Vec::new(),
            conflicts: Vec::new(),
        };
        for file in &folder.files {
            this.add_file(file, listing.find(&file.name));
        }
        let names: HashSet<_> =
            folder.files.iter().map(|file| file.name.to_ascii_lowercase()).collect();
        let unmatched = listing.0.iter().filter(|(name, _)| !names.contains(*name));
        for listed in unmatched.flat_map(|(_, files)| files) {
            if !is_of(listed, &folder.collection) {
                this.others.push(listed.file_name.clone());
                continue;
            }
            this.items.push(Item {
                change: if delete { Change::Delete } else { Change::Leave },
                name: listed.file_name.clone(),
                file: None,
                planned: Some(listed.clone()),
            });
        }
        this.others.sort();
        // Deletes come last: until then, the library has at least what it had.
        this.items.sort_by(|one, other| {
            (one.change == Change::Delete, &one.name)
                .cmp(&(other.change == Change::Delete, &other.name))
        });
        this
    }

    /// Returns whether it deletes all files of earlier syncs, under their names.
    pub fn replaces_all(&self) -> bool {
        let is_of_sync = |file: &LibraryFile| is_of(file, self.collection);
        let mut earlier =
            self.items.iter().filter(|item| item.planned.as_ref().is_some_and(is_of_sync));
        let is_deleted = |item: &Item<'_>| item.change == Change::Delete;
        self.items.iter().any(is_deleted) && earlier.all(is_deleted)
    }

    /// Returns whether the library's file is as the folder wants it, but belongs to others.
    pub fn has_lost_mark(&self, item: &Item<'_>, listing: &Listing) -> bool {
        item.file.zip(listing.find(&item.name)).is_some_and(|(file, listed)| {
            has_content(listed, file) && !is_of(listed, self.collection)
        })
    }

    fn add_file(&mut self, file: &'a FolderFile, listed: Option<&LibraryFile>) {
        let change = match listed {
            None => Change::Add,
            Some(listed) => match (is_of(listed, self.collection), has_content(listed, file)) {
                (true, true) if has_texts(listed, file) => Change::Leave,
                (true, true) => Change::Describe,
                (true, false) => Change::Replace,
                (false, true) => Change::Leave,
                (false, false) => {
                    self.others.push(listed.file_name.clone());
                    return self.conflicts.push(listed.clone());
                }
            },
        };
        let name = listed.map_or(&file.name, |listed| &listed.file_name).clone();
        self.items.push(Item { change, name, file: Some(file), planned: listed.cloned() });
    }
}

impl Item<'_> {
    /// Returns whether nothing is left to do.
    pub fn is_done(&self, listing: &Listing) -> bool {
        match (self.file, listing.find(&self.name)) {
            (None, None) => true,
            (Some(file), Some(listed)) => self.is_as_wanted(listed, file),
            _ => false,
        }
    }

    fn is_as_wanted(&self, listed: &LibraryFile, file: &FolderFile) -> bool {
        has_content(listed, file) && (self.change != Change::Describe || has_texts(listed, file))
    }

    /// Returns whether the file is as in the plan, or as the folder wants it. The second is so
    /// after our own change, and after the same sync of another process.
    ///
    /// `is_made`: its own change was made. The service may have changed the description.
    pub fn is_unmoved(&self, listing: &Listing, is_made: bool) -> bool {
        let listed = listing.find(&self.name);
        let is_wanted = match (self.file, listed) {
            (Some(file), Some(listed)) if is_made => has_content(listed, file),
            (Some(file), Some(listed)) => self.is_as_wanted(listed, file),
            (Some(_), None) => false,
            // A file that is in no plan to be deleted does not matter.
            (None, listed) => listed.is_none() || self.change == Change::Leave,
        };
        is_wanted
            || match (&self.planned, listed) {
                (None, None) => true,
                (Some(planned), Some(listed)) => is_same(planned, listed),
                _ => false,
            }
    }
}

/// Returns whether a sync of this collection uploaded the file, and nobody replaced it since.
fn is_of(file: &LibraryFile, collection: &str) -> bool {
    let mark = SyncMark::read(file.description.as_deref().unwrap_or_default());
    mark.is_some_and(|mark| {
        mark.collection == collection
            && file.sha256.as_deref().is_none_or(|sha256| mark.fits(sha256))
    })
}

/// Returns whether the library's file has the content of the folder's. If the service shows no
/// hash, the mark shows which content a sync uploaded.
fn has_content(listed: &LibraryFile, file: &FolderFile) -> bool {
    if listed.sha256.is_some() {
        return has_digest(listed, &file.sha256);
    }
    let mark = SyncMark::read(listed.description.as_deref().unwrap_or_default());
    mark.is_some_and(|mark| mark.fits(&file.sha256))
}

fn has_texts(listed: &LibraryFile, file: &FolderFile) -> bool {
    has_description(listed, &file.description) && has_parameters(listed, file.parameters.as_deref())
}

fn is_same(one: &LibraryFile, other: &LibraryFile) -> bool {
    let content = match (&one.sha256, &other.sha256) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => one.last_updated_time == other.last_updated_time,
    };
    content
        && one.description == other.description
        && one.parameters_description == other.parameters_description
        && one.has_parameters == other.has_parameters
}
