use proptest::prelude::*;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::task::{LocalSet, yield_now};

use super::*;

fn kept(limit: usize, parts: &[(Stream, &[u8])]) -> Kept {
    let mut kept = Kept { limit, ..Kept::default() };
    for (stream, bytes) in parts {
        kept.add(*stream, bytes);
    }
    kept
}

use Stream::{Stderr, Stdout};

#[test]
fn both_streams_keep_the_order_in_which_they_were_read() {
    let mut kept = kept(100, &[(Stdout, b"a\n"), (Stdout, b"b\n"), (Stderr, b"!\n"), (Stdout, b"c\n")]);
    assert_eq!(kept.chunks(), r#"[["o","a\nb\n"],["e","!\n"],["o","c\n"]]"#);
    assert_eq!(kept.section(Stdout), "a\nb\nc\n");
    assert_eq!(kept.section(Stderr), "!\n");
    assert_eq!(kept.total(), 8);
}

#[test]
fn the_end_is_kept_and_the_rest_is_counted() {
    let mut kept = kept(4, &[(Stdout, b"abc"), (Stdout, b"defg")]);
    assert_eq!(kept.chunks(), r#"[["o","defg"]]"#);
    assert_eq!((kept.dropped, kept.total()), ([3, 0], 7));
    assert_eq!(kept.section(Stdout), "[3 bytes before this are not kept]\ndefg");
    kept.clear();
    assert_eq!((kept.total(), kept.chunks()), (0, "[]".to_owned()));
}

#[test]
fn what_is_kept_begins_with_a_character() {
    let mut kept = kept(5, &[(Stdout, "ééé".as_bytes())]);
    assert_eq!(kept.chunks(), r#"[["o","éé"]]"#);
    assert_eq!(kept.dropped, [2, 0]);
}

#[test]
fn a_character_may_come_in_two_parts() {
    let mut whole = kept(99, &[(Stdout, b"\xc3"), (Stderr, b"x"), (Stdout, b"\xa9")]);
    assert_eq!(whole.chunks(), r#"[["e","x"],["o","é"]]"#);
    let mut broken = kept(9, &[(Stdout, b"a\xc3")]);
    assert_eq!(broken.chunks(), r#"[["o","a"]]"#);
    broken.end_partial();
    assert_eq!(broken.chunks(), "[[\"o\",\"a\u{FFFD}\"]]");
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let mut kept = kept(99, &[(Stdout, b"a\0b\xff\xed\xa0\x80c")]);
    assert_eq!(kept.section(Stdout), "a\u{FFFD}b\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}c");
}

#[test]
fn output_that_changes_its_stream_with_each_letter_keeps_its_bounds() {
    let mut kept = Kept { limit: 1000, ..Kept::default() };
    for _ in 0..10_000 {
        kept.add(Stdout, b"o");
        kept.add(Stderr, b"e");
    }
    assert!(kept.chunks().len() < 1000, "{}", kept.chunks().len());
    assert_eq!(kept.total(), 20_000);
}

#[test]
fn nothing_is_kept_where_nothing_may_be() {
    let captured = Captured::of_text("out", "err", 0);
    let printed = captured.printed().unwrap();
    assert_eq!((printed.chunks.as_str(), printed.bytes, printed.dropped), ("[]", 0, 6));
    assert_eq!(Captured::of_text("", "", 9).printed(), None);
}

proptest! {
    #[test]
    fn however_it_is_cut_the_end_of_the_text_is_kept(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(1..20_usize, 1..20),
        limit in 0..120_usize,
    ) {
        let whole = String::from_utf8_lossy(&bytes).replace('\0', "\u{FFFD}");
        let mut kept = Kept { limit, ..Kept::default() };
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (part, behind) = rest.split_at((*cut).min(rest.len()));
            kept.add(Stdout, part);
            rest = behind;
        }
        kept.end_partial();
        let text: String = kept.texts().into_iter().map(|(_, text)| text).collect();
        prop_assert!(whole.ends_with(&text), "{text:?} {whole:?}");
        prop_assert!(text.len() <= limit && text.len() + 4 > limit.min(whole.len()));
        prop_assert_eq!(kept.total(), whole.len() as u64);
    }
}

#[tokio::test]
async fn what_is_in_the_pipes_belongs_to_what_is_asked_for() {
    LocalSet::new()
        .run_until(async {
            let mut captured = Captured::new(100, false);
            let mut ends = Vec::new();
            for stream in [Stdout, Stderr] {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                captured.read(stream, read, None).unwrap();
                ends.push(std::fs::File::from(write));
            }
            ends[0].write_all(b"out").unwrap();
            ends[1].write_all(b"err").unwrap();
            let view = captured.view();
            captured.catch_up();
            assert_eq!(captured.printed().unwrap().chunks, r#"[["o","out"],["e","err"]]"#);
            assert_eq!((view.total(), captured.tail().as_str()), (6, "err"));
            ends[0].write_all(b"of the attempt before").unwrap();
            captured.catch_up();
            captured.clear();
            assert_eq!(captured.printed(), None);
        })
        .await;
}

#[tokio::test]
async fn what_is_there_at_the_same_time_begins_with_stdout() {
    LocalSet::new()
        .run_until(async {
            let mut captured = Captured::new(100, false);
            let mut ends = Vec::new();
            for stream in [Stdout, Stderr] {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                captured.read(stream, read, None).unwrap();
                ends.push(std::fs::File::from(write));
            }
            // Whoever waits for stdout has not had its turn.
            captured.readers[0].abort();
            ends[0].write_all(b"out").unwrap();
            ends[1].write_all(b"err").unwrap();
            let both = async {
                while captured.view().total() < 6 {
                    yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
            assert_eq!(captured.printed().unwrap().chunks, r#"[["o","out"],["e","err"]]"#);
        })
        .await;
}

#[tokio::test]
async fn nothing_is_read_while_an_answer_is_unread() {
    LocalSet::new()
        .run_until(async {
            let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            let mut captured = Captured::new(100, false);
            let socket = ours.try_clone().unwrap();
            captured.read(Stdout, read, Some(Rc::new(socket.into()))).unwrap();
            theirs.write_all(b"an answer").unwrap();
            std::fs::File::from(write).write_all(b"of the next run").unwrap();
            // The reader has had its turns, and another of its pauses.
            sleep(UNREAD * 20).await;
            assert_eq!(captured.view().total(), 0);
            std::io::Read::read(&mut &ours, &mut [0; 16]).unwrap();
            let all = async {
                while captured.view().total() < 15 {
                    sleep(UNREAD).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), all).await.unwrap();
        })
        .await;
}
