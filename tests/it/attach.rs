//! The command `attach`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::report::run_directory;
use crate::support::CACHEPROOF;
use cacheproof_simulated::SimulationPlan;

const BEGIN: &str = "<!-- cacheproof:begin -->";

fn attach(story: &Path, run: &Path) -> (Option<i32>, String) {
    let output = Command::new(CACHEPROOF).arg("attach").args([story, run]).output().expect("it starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), said)
}

#[test]
fn a_story_gets_its_result_and_loses_its_ticks_when_a_later_run_breaks_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my story.md");
    let text = "# Cache\n\n- [ ] Hit rate above 60 % on read-heavy endpoints\n- [ ] No stale data returned to users\n";
    fs::write(&path, text).unwrap();

    let (code, said) = attach(&path, run_directory(&SimulationPlan::default()).path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ticked     Hit rate above 60 %") && said.contains("no box     Graceful fallback"), "{said}");
    let first = fs::read_to_string(&path).unwrap();
    assert!(first.contains("- [x] Hit rate above") && first.contains("- [x] No stale data"), "{first}");
    // Every link of the block leads to a file that is there.
    let links: Vec<&str> = first.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert_eq!(links.len(), 6, "{links:?}");
    for link in links {
        let file = directory.path().join(link.replace("%20", " "));
        assert!(file.metadata().is_ok_and(|file| file.len() > 1_000), "{link}");
    }

    let broken = SimulationPlan { stale_every: 300, stop_at: Some(70.2), ..SimulationPlan::default() };
    let (code, said) = attach(&path, run_directory(&broken).path());
    assert_eq!(code, Some(0), "{said}");
    // The hit rate passed as far as it was measured, but the run broke off: it proves nothing.
    assert!(said.contains("unticked   No stale data") && said.contains("unticked   Hit rate"), "{said}");
    let second = fs::read_to_string(&path).unwrap();
    assert!(second.contains("- [ ] Hit rate above") && second.contains("- [ ] No stale data"), "{second}");
    assert_eq!(second.matches(BEGIN).count(), 1);
    insta::assert_snapshot!("story.md", second);
}

#[test]
fn a_story_that_is_not_utf8_or_not_there_is_refused_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let run = run_directory(&SimulationPlan::default());
    let path = directory.path().join("story.md");
    let (code, said) = attach(&path, run.path());
    assert_eq!(code, Some(2), "{said}");
    fs::write(&path, b"caf\xe9\n").unwrap();
    let (code, said) = attach(&path, run.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not UTF-8") && said.contains("byte 3"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), b"caf\xe9\n");
    assert!(!directory.path().join("story-cacheproof").exists(), "nothing was put beside it");
}

#[test]
fn what_is_nearly_a_criterions_box_is_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("story.md");
    let text = "- [x] No stale data returned to users\n  within a minute\n- [x] ~~No stale data returned to users~~\n\n\
        [ ] No stale data returned to users\n";
    fs::write(&path, text).unwrap();
    let (code, said) = attach(&path, run_directory(&SimulationPlan::default()).path());
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("stale") || line.contains("left")).collect();
    insta::assert_snapshot!("left", lines.join("\n"));
    assert!(fs::read_to_string(&path).unwrap().starts_with(text));

    fs::write(&path, "- [x] No stale data\n".repeat(30)).unwrap();
    let (_, said) = attach(&path, run_directory(&SimulationPlan::default()).path());
    assert!(said.contains("line 20 [x]") && !said.contains("line 21 [x]") && said.contains("and 10 more"), "{said}");
}

#[test]
fn a_copy_of_an_interrupted_attach_stops_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("story.md");
    fs::write(&path, "half\n").unwrap();
    fs::write(directory.path().join("story.md.before-attach"), "whole\n").unwrap();
    let (code, said) = attach(&path, run_directory(&SimulationPlan::default()).path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("story.md.before-attach") && said.contains("attach again"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "half\n");
}

#[cfg(unix)]
#[test]
fn a_story_keeps_its_owner_its_permissions_and_its_second_name() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let directory = tempfile::tempdir().unwrap();
    let (path, second) = (directory.path().join("story.md"), directory.path().join("second.md"));
    fs::write(&path, "- [ ] No stale data returned to users\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(&path, &second).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).unwrap();
    }
    let of = |path: &Path| {
        let file = path.metadata().unwrap();
        (file.ino(), file.uid(), file.gid(), file.mode(), file.nlink())
    };
    let before = of(&path);
    let (code, said) = attach(&path, run_directory(&SimulationPlan::default()).path());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((of(&path), of(&second)), (before, before));
    assert!(fs::read_to_string(&second).unwrap().contains(BEGIN));
    let names = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names, 3, "two names and the pictures; no copy is left");
}

#[cfg(unix)]
#[test]
fn a_story_behind_a_link_keeps_the_link_and_its_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real.md"), directory.path().join("link.md"));
    fs::write(&real, "a\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real.md", &link).unwrap();
    let (code, said) = attach(&link, run_directory(&SimulationPlan::default()).path());
    assert_eq!(code, Some(0), "{said}");
    assert!(link.is_symlink() && fs::read_to_string(&real).unwrap().contains(BEGIN));
    assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}
