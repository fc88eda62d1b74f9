//! Any lawful sequence of steps and restarts leaves what a plain list says.

use proptest::prelude::*;
use runtime::disk::faulty::Loss;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(60)
    ))]

    #[test]
    fn a_log_is_a_list(seed in any::<u64>(), restarts in prop::collection::vec(1usize..40, 1..6)) {
        let disk = FaultyDisk::new(seed);
        let mut chance = Generator::new(seed);
        let mut model = Model::default();
        for steps in restarts {
            let mut opened = reopen(&disk).unwrap();
            prop_assert_eq!(&Model::of(&opened), &model);
            for _ in 0..steps {
                match draw(&model, &mut chance) {
                    Step::Write(changes) => {
                        opened.journal.write(&changes).unwrap();
                        changes.iter().for_each(|change| model.apply(change));
                    }
                    Step::Vote(vote) => {
                        open::write_vote(&*disk.shared(), &dir(), vote).unwrap();
                        model.vote = Some(vote);
                    }
                    Step::Mark => opened.journal.mark().unwrap(),
                }
            }
            disk.power_loss(Loss::All);
        }
        prop_assert_eq!(&Model::of(&reopen(&disk).unwrap()), &model);
    }
}
