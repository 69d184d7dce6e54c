//! Compares the description and the parameters of a library file with those that it should have.

use super::mark::{join_mark, split_mark};
use crate::model::LibraryFile;
use crate::transfer::LibraryUpload;

/// Returns whether the file has this description. The service may change blanks and line ends.
pub fn has_description(file: &LibraryFile, description: &str) -> bool {
    let listed = file.description.as_deref().unwrap_or_default();
    listed.split_whitespace().eq(description.split_whitespace())
}

/// Returns whether the file has these parameters, as far as the service shows them. It may omit
/// the text (docs/service.md, section 8).
pub fn has_parameters(file: &LibraryFile, parameters: Option<&str>) -> bool {
    let listed = file.parameters_description.as_deref();
    match parameters {
        None => file.has_parameters != Some(true) && listed.is_none_or(str::is_empty),
        Some(_) if file.has_parameters == Some(false) => false,
        Some(text) => {
            listed.is_none_or(|listed| listed.split_whitespace().eq(text.split_whitespace()))
        }
    }
}

/// Returns the upload that gives the file the texts of the form, or none if it has them. A text
/// that the form does not give stays as it is, and so does the mark of a sync.
pub fn with_new_texts(form: &LibraryUpload, file: &LibraryFile) -> Option<LibraryUpload> {
    let listed = file.description.clone().unwrap_or_default();
    let (text, mark) = split_mark(&listed);
    let (given, _) = split_mark(&form.description);
    let description = join_mark(if given.is_empty() { text } else { given }, mark);
    let kept = || {
        let text = file.parameters_description.clone().unwrap_or_default();
        (file.has_parameters == Some(true)).then_some(text)
    };
    let parameters_description = form.parameters_description.clone().or_else(kept);
    let is_same = has_description(file, &description)
        && (form.parameters_description.is_none()
            || has_parameters(file, parameters_description.as_deref()));
    // The content is the same, so nothing of the file is lost.
    let new =
        LibraryUpload { description, parameters_description, overwrite: true, ..form.clone() };
    (!is_same).then_some(new)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::transport::BodyPart;

    fn file(description: Option<&str>, has: Option<bool>, parameters: Option<&str>) -> LibraryFile {
        let json = json!({
            "fileName": "a.ps1", "description": description, "hasParameters": has,
            "parametersDescription": parameters,
        });
        serde_json::from_str(&json.to_string()).unwrap()
    }

    fn form(description: &str, parameters: Option<&str>) -> LibraryUpload {
        LibraryUpload {
            file_name: "a.ps1".to_owned(),
            content: BodyPart::Bytes(Bytes::new()),
            description: description.to_owned(),
            parameters_description: parameters.map(str::to_owned),
            overwrite: false,
        }
    }

    #[test]
    fn parameters_that_the_service_omits_are_not_a_difference() {
        let depth = Some("-Depth N");
        for (has, listed, wanted, same) in [
            (Some(true), depth, depth, true),
            (Some(true), None, depth, true),
            (None, None, depth, true),
            (Some(false), None, depth, false),
            (Some(false), depth, depth, false),
            (Some(true), Some("-Out"), depth, false),
            (Some(false), None, None, true),
            (None, Some(""), None, true),
            (Some(true), None, None, false),
            (None, depth, None, false),
        ] {
            let file = file(None, has, listed);
            assert_eq!(has_parameters(&file, wanted), same, "{has:?} {listed:?} {wanted:?}");
        }
    }

    #[test]
    fn only_given_texts_change() {
        let old = file(Some("old  text\r\n[mlr:sync:a:1]"), Some(true), Some("-Depth N"));
        for same in [form("", None), form("old text", None), form("old\ntext", Some("-Depth N"))] {
            assert!(with_new_texts(&same, &old).is_none(), "{same:?}");
        }
        let new = with_new_texts(&form("new", None), &old).unwrap();
        assert_eq!(new.description, "new [mlr:sync:a:1]");
        assert_eq!(new.parameters_description.as_deref(), Some("-Depth N"));
        assert!(new.overwrite);
        let new = with_new_texts(&form("", Some("-Out")), &old).unwrap();
        assert_eq!(new.description, "old  text [mlr:sync:a:1]");
        assert_eq!(new.parameters_description.as_deref(), Some("-Out"));
        let hidden = file(None, Some(true), None);
        let new = with_new_texts(&form("new", None), &hidden).unwrap();
        assert_eq!(new.parameters_description.as_deref(), Some(""));
    }
}
