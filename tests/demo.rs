//! The demonstration keeps its promise: it shows every step and ends well.

use std::process::Command;

use sidehook_testkit::process::binary;

#[test]
fn the_demonstration_shows_every_step_and_ends_well() {
    let mut command = Command::new(binary("sidehook"));
    let output = command.env_clear().arg("demo").output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{}:\n{said}", output.status);
    let mut rest = &*said;
    for step in ["published", "matched", "leased", "signed", "posted"] {
        let at = rest.find(step);
        rest = &rest[at.unwrap_or_else(|| panic!("no {step:?} in its order:\n{said}"))..];
    }
    for end in ["retrying", "delivered", "verified", "Done in"] {
        assert!(rest.contains(end), "no {end:?}:\n{said}");
    }
}
