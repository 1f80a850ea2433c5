//! Finding the first process in the boot archive (cpio, "newc").

fn hex(field: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(field).ok()?;
    usize::from_str_radix(text, 16).ok()
}

/// The content of a file in the archive.
pub fn find<'a>(archive: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = archive;
    loop {
        let header = rest.get(..110)?;
        if &header[..6] != b"070701" {
            return None;
        }
        let (size, name_len) = (hex(&header[54..62])?, hex(&header[94..102])?);
        let body = 110usize
            .checked_add(name_len)?
            .checked_next_multiple_of(4)?;
        let entry = rest.get(110..110 + name_len.checked_sub(1)?)?;
        let data = rest.get(body..body.checked_add(size)?)?;
        if entry == name {
            return Some(data);
        }
        if entry == b"TRAILER!!!" {
            return None;
        }
        rest = rest.get(body.checked_add(size)?.checked_next_multiple_of(4)?..)?;
    }
}
