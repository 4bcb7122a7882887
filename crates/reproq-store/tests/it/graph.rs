//! The graph of states, as a trigger in a test's database: whoever makes a move, a statement of ours or a test by hand, is held to it.

use reproq_model::RunStatus;
use reproq_model::status::Event;

use crate::database::Database;

/// Refuses, in the database, every move that the graph of states does not know (I14), and an epoch that does anything but rise by
/// one at each claim (I13).
pub async fn watch_moves(db: &Database) {
    let moves: Vec<String> = RunStatus::ALL
        .iter()
        .flat_map(|from| Event::ALL.iter().filter_map(move |event| Some((*from, from.after(*event).ok()?))))
        .map(|(from, to)| format!("('{from}', '{to}')"))
        .collect();
    let known = format!("(OLD.status, NEW.status) IN (VALUES {})", moves.join(", "));
    let bad = format!("OLD.status <> NEW.status AND NOT ({known})");
    // At a claim it rises, by one; nothing else touches it.
    let claimed = "OLD.status <> 'RUNNING' AND NEW.status = 'RUNNING'";
    let fell =
        format!("NEW.epoch - OLD.epoch <> 1 AND ({claimed}) OR NEW.epoch <> OLD.epoch AND NOT ({claimed})");
    db.execute(&if db.is_postgres() {
        format!(
            "CREATE FUNCTION watch_moves() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN \
             IF {bad} THEN RAISE EXCEPTION 'no such move: % to %', OLD.status, NEW.status; END IF; \
             IF {fell} THEN RAISE EXCEPTION 'an epoch that does not rise'; END IF; RETURN NULL; END $$; \
             CREATE TRIGGER watch_moves AFTER UPDATE ON task_runs FOR EACH ROW EXECUTE FUNCTION watch_moves()"
        )
    } else {
        format!(
            "CREATE TRIGGER watch_moves AFTER UPDATE ON task_runs WHEN ({bad}) OR ({fell}) \
             BEGIN SELECT RAISE(ABORT, 'no such move, or an epoch that does not rise'); END"
        )
    })
    .await;
}
