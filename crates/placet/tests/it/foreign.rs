//! A configuration that lies where we stand, and that others could have written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::harness::alone;

fn check(space: &Path) -> crate::harness::Cli {
    alone(space, ["config", "check"])
}

#[test]
fn a_configuration_that_everybody_can_write_is_believed_only_by_name() {
    let space = tempfile::tempdir().unwrap();
    let file = space.path().join("placet.toml");
    fs::write(&file, "log.public = true\n").unwrap();
    for (mode, refused) in [(0o644, false), (0o600, false), (0o664, false), (0o666, true), (0o602, true)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let ended = check(space.path()).run();
        assert_eq!(ended.code, if refused { 78 } else { 0 }, "{mode:o}: {ended:?}");
        if refused {
            assert!(
                ended.stderr.contains("lets everybody write") && ended.stderr.contains("--config"),
                "{ended:?}"
            );
        }
    }
    check(space.path()).arg("--config").arg(&file).succeeds();
}

#[test]
fn a_configuration_of_somebody_else_is_believed_only_by_name() {
    let space = tempfile::tempdir().unwrap();
    let file = space.path().join("placet.toml");
    fs::write(&file, "log.public = true\n").unwrap();
    // Only root may give a file away.
    if std::os::unix::fs::chown(&file, Some(65_534), None).is_err() {
        return;
    }
    check(space.path()).fails(78, "belongs to user 65534");
    check(space.path()).arg("--config").arg(&file).succeeds();
    // A link of theirs to a file of ours is theirs.
    let own = space.path().join("own.toml");
    fs::write(&own, "log.public = true\n").unwrap();
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&own, &file).unwrap();
    check(space.path()).succeeds();
    std::os::unix::fs::lchown(&file, Some(65_534), None).unwrap();
    check(space.path()).fails(78, "belongs to user 65534");
}
