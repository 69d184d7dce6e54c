//! How the description of a library file says which call uploaded it. Every process of every host
//! reads it, and a file that someone replaces loses it.

/// Ends the description of a file that a local command uploaded.
pub const LOCAL_MARK: &str = "[mlr:local]";
const MARK_START: &str = "[mlr:";
const SYNC_START: &str = "[mlr:sync:";
/// Digits of the SHA-256 in the mark of a sync.
const DIGITS: usize = 16;

/// The mark of a sync: whose file it is, and which content the sync uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncMark<'a> {
    pub collection: &'a str,
    digest: &'a str,
}

impl<'a> SyncMark<'a> {
    pub fn read(description: &'a str) -> Option<Self> {
        let (_, mark) = split_mark(description);
        let (collection, digest) =
            mark.strip_prefix(SYNC_START)?.strip_suffix(']')?.split_once(':')?;
        let is_digest = digest.len() == DIGITS && digest.bytes().all(|b| b.is_ascii_hexdigit());
        is_digest.then_some(Self { collection, digest })
    }

    /// Returns whether the marked content can have this SHA-256.
    pub fn fits(&self, sha256: &str) -> bool {
        sha256.get(..DIGITS).is_some_and(|start| start.eq_ignore_ascii_case(self.digest))
    }
}

/// Returns the mark of content that a sync uploads. The collection has no `:` and no `]`.
pub fn sync_mark(collection: &str, sha256: &str) -> String {
    format!("{SYNC_START}{collection}:{}]", sha256.get(..DIGITS).unwrap_or(sha256))
}

/// Splits a description into its text and its mark, which is empty if it has none.
pub fn split_mark(description: &str) -> (&str, &str) {
    let description = description.trim();
    let at = match description.rfind(MARK_START) {
        Some(at) if description.ends_with(']') => at,
        _ => description.len(),
    };
    let (text, mark) = description.split_at(at);
    (text.trim_end(), mark)
}

/// Returns the text, followed by the mark.
pub fn join_mark(text: &str, mark: &str) -> String {
    format!("{} {mark}", text.trim()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = sync_mark("my%20scripts", SHA256);
        assert_eq!(mark, "[mlr:sync:my%20scripts:ba7816bf8f01cfea]");
        for text in ["", "collects", "collects [mlr:local]", "a [b]"] {
            let description = join_mark(text, &mark);
            assert_eq!(split_mark(&description), (text, mark.as_str()));
            let read = SyncMark::read(&description).unwrap();
            assert_eq!(read.collection, "my%20scripts");
            assert!(read.fits(SHA256) && read.fits(&SHA256.to_uppercase()));
            assert!(!read.fits("00") && !read.fits(&SHA256.replace('b', "c")));
        }
    }

    #[test]
    fn another_description_has_no_mark_of_a_sync() {
        for description in [
            "",
            "collects",
            "collects [mlr:local]",
            "[mlr:sync:a:ba7816bf8f01cfea] and more",
            "[mlr:sync:a:ba7816bf8f01cfe]",
            "[mlr:sync:a:xx7816bf8f01cfea]",
            "[mlr:sync:ba7816bf8f01cfea]",
            "[mlr:sync:a:b:ba7816bf8f01cfea]",
        ] {
            assert_eq!(SyncMark::read(description), None, "{description}");
        }
    }
}
