//! Text for people has nothing in it that a terminal obeys.

use super::{fields, minimal, new};
use crate::v1;

#[test]
fn a_description_is_plain_text() {
    let with = |description: &str| {
        new(&v1::Subscription {
            description: description.to_owned(),
            ..minimal()
        })
    };
    assert!(with("Rechnungen, größere").is_ok());
    for description in [
        "a\nb",
        "\u{1b}]0;title\u{7}",
        "invoice\u{202e}fdp.exe",
        "\u{2066}",
    ] {
        assert_eq!(fields(with(description)), ["subscription.description"]);
    }
}
