use super::*;

fn sent(writer: Writer, label: u32) -> Reader {
    let (info, words) = writer.finish(label);
    Reader::new(&Ipc {
        info,
        words,
        ..Ipc::default()
    })
}

#[test]
fn words_bytes_and_lists_round_trip_at_every_length() {
    for len in 0..=200usize {
        let text: Vec<u8> = (0..len as u8).collect();
        let mut w = Writer::new();
        (7u32, text.as_slice(), -5i64, true).put(&mut w).unwrap();
        [1u64, 2].as_slice().put(&mut w).unwrap_or_default();
        let mut r = sent(w, 9);
        assert_eq!(r.label(), 9);
        let (a, b, c, d) = <(u32, Bytes, i64, bool)>::take(&mut r).unwrap();
        assert_eq!((a, &*b, c, d), (7, text.as_slice(), -5, true));
        let list = List::<u64, 2>::take(&mut r).unwrap();
        assert_eq!(&*list, &[1, 2]);
        r.finish().unwrap();
    }
}

#[test]
fn too_much_is_refused_and_not_cut() {
    let mut w = Writer::new();
    assert_eq!(w.bytes(&[1; 249]), Err(Error::MessageTooLarge));
    assert_eq!(w.bytes(&[1; 248]), Ok(()));
    assert_eq!(w.word(1), Err(Error::MessageTooLarge));
    assert_eq!(w.bytes(&[]), Err(Error::MessageTooLarge));
}

#[test]
fn what_is_not_read_is_an_error() {
    let mut w = Writer::new();
    w.word(1).unwrap();
    let mut r = sent(w, 0);
    assert_eq!(<()>::take(&mut r), Ok(()));
    assert_eq!(r.finish(), Err(Error::BadMessage));
}

/// Any info word and any words: readers return errors, never panic.
#[test]
fn hostile_messages_are_survived() {
    let mut seed = 0x1234_5678_9abc_def1u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..20_000 {
        let mut words = [0; 6];
        for word in &mut words {
            *word = match next() % 4 {
                0 => next(),
                1 => next() % 300,
                2 => u64::MAX - next() % 8,
                _ => 0,
            };
        }
        let info = MsgInfo::new(round, (next() % 0x200) as usize, 0);
        let ipc = Ipc {
            info,
            words,
            ..Ipc::default()
        };
        let _ = <(u32, Bytes, bool, Bytes)>::take(&mut Reader::new(&ipc));
        let _ = List::<u64, 20>::take(&mut Reader::new(&ipc));
        let _ = <(u64, List<u32, 3>, Bytes)>::take(&mut Reader::new(&ipc));
    }
}
