//! The short run: every target on its corpus, and on some thousand mutations of it that are the same each time.

use placet_fuzz::{TARGETS, save};

#[test]
fn every_reader_holds_against_its_corpus_and_mutations_of_it() {
    let mut broken = Vec::new();
    for target in &TARGETS {
        assert!(target.corpus().len() >= 3, "{} has a corpus of crafted seeds", target.name);
        match target.run(20_261_125, |tried| tried < target.short_run) {
            Ok(run) => assert!(run.classes > 2, "{}: {run:?}: the corpus leads nowhere", target.name),
            Err(crash) => {
                let path = save(target, &crash).unwrap();
                broken.push(format!("{}: {}\n  {}", target.name, crash.why, path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
