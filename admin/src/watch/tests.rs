//! Which folders are watched, which names in them count, and that a loop of links ends.

use std::os::unix::fs::symlink;

use notify::event::{AccessKind, CreateKind, Flag};

use super::*;

#[test]
fn every_folder_on_the_way_is_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("it is there");
    for inside in ["mount/..v1", "etc"] {
        std::fs::create_dir_all(root.join(inside)).expect("made");
    }
    std::fs::write(root.join("mount/..v1/file"), "").expect("written");
    symlink("..v1", root.join("mount/..data")).expect("linked");
    symlink("..data/file", root.join("mount/file")).expect("linked");
    symlink(root.join("mount/file"), root.join("etc/file")).expect("linked");
    let way = Way::to(&root.join("etc/file"));
    for inside in ["etc", "mount", "mount/..v1"] {
        assert!(way.folders.contains(&root.join(inside)), "{inside} in {way:?}");
    }
    let event = |kind, path: &str| Event::new(kind).add_path(root.join(path));
    let created = EventKind::Create(CreateKind::Any);
    for path in ["etc/file", "mount/file", "mount/..data", "mount/..v1/file", "mount/..v1", "etc"] {
        assert!(way.is_touched_by(&event(created, path)), "{path}");
    }
    for path in ["etc/acc.log", "etc/.file.swp", "mount/..data_tmp", "mount/..v2"] {
        assert!(!way.is_touched_by(&event(created, path)), "{path}");
    }
    assert!(!way.is_touched_by(&event(EventKind::Access(AccessKind::Any), "etc/file")));
    assert!(way.is_touched_by(&Event::new(EventKind::Other).set_flag(Flag::Rescan)), "events were lost");
}

#[test]
fn a_loop_of_links_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    symlink("b", folder.path().join("a")).expect("linked");
    symlink("a", folder.path().join("b")).expect("linked");
    assert!(Way::to(&folder.path().join("a")).folders.contains(folder.path()));
}
