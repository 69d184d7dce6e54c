//! Pages of lists. A page is read in one pass: each record is decoded where it stands.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::record::{Entity, Raw, finish_entity, read_entity};

/// The most records of one page. The service sends at most 10,000 (page "api-odata").
pub(super) const MAX_PAGE_ITEMS: usize = 50_000;

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    pub value: Vec<T>,
    /// URL of the next page, to be requested unchanged.
    pub next_link: Option<String>,
    /// The records that were skipped, because they have no usable id.
    pub skipped: Vec<Raw>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { value: Vec::new(), next_link: None, skipped: Vec::new() }
    }
}

impl<T: Entity> Page<T> {
    /// Adds the record in `text`. One odd record must not hide the others.
    pub(super) fn add(&mut self, text: &str) {
        match read_entity(text) {
            Ok(entity) => self.value.push(entity),
            Err(_) => self.skipped.push(text.into()),
        }
    }
}

/// A place in the JSON of a page.
pub(super) struct PageReader<'a> {
    rest: &'a str,
}

impl<'a> PageReader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// Reads the page. None: it is not as documented, and must be decoded by serde for the error.
    pub(super) fn read<T: Entity>(mut self) -> Option<Page<T>> {
        let (mut page, mut has_items, mut has_link) = (Page::default(), false, false);
        self.take('{')?;
        loop {
            let (name, _): (String, _) = self.next_value()?;
            self.take(':')?;
            match name.as_str() {
                "value" if !has_items => {
                    self.read_items(&mut page)?;
                    has_items = true;
                }
                "@odata.nextLink" if !has_link => {
                    page.next_link = self.next_value()?.0;
                    has_link = true;
                }
                "value" | "@odata.nextLink" => return None,
                _ => {
                    self.next_value::<&RawValue>()?;
                }
            }
            if self.take(',').is_none() {
                break;
            }
        }
        self.take('}')?;
        (has_items && self.rest.trim_start().is_empty()).then_some(page)
    }

    fn read_items<T: Entity>(&mut self, page: &mut Page<T>) -> Option<()> {
        self.take('[')?;
        if self.take(']').is_some() {
            return Some(());
        }
        for _ in 0..MAX_PAGE_ITEMS {
            self.read_item(page)?;
            if self.take(',').is_none() {
                return self.take(']');
            }
        }
        None
    }

    fn read_item<T: Entity>(&mut self, page: &mut Page<T>) -> Option<()> {
        // serde would decode a struct from an array too.
        if self.peek() == Some('{') {
            let before = self.rest;
            if let Some((entity, text)) = self.next_value::<T>()
                && let Ok(entity) = finish_entity(entity, text)
            {
                page.value.push(entity);
                return Some(());
            }
            self.rest = before;
        }
        let (_, text) = self.next_value::<&RawValue>()?;
        page.add(text);
        Some(())
    }

    /// Reads a JSON value. Returns its text too.
    fn next_value<T: Deserialize<'a>>(&mut self) -> Option<(T, &'a str)> {
        self.peek();
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter();
        let value = values.next()?.ok()?;
        let (text, rest) = self.rest.split_at_checked(values.byte_offset())?;
        self.rest = rest;
        Some((value, text))
    }

    fn take(&mut self, mark: char) -> Option<()> {
        self.peek();
        self.rest = self.rest.strip_prefix(mark)?;
        Some(())
    }

    /// Skips blanks. Returns the next character.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\t', '\r']);
        self.rest.chars().next()
    }
}
