//! A library lends books, borrowers lend them on, and the library calls one in.
//!
//! `cargo run -p viper-cap --example lending`

use viper_cap::{CapError, CapSpace, Handle, Limits, Rights, TableId};

#[derive(Clone, Copy, Debug)]
struct Book(u16);

const READ: Rights = Rights::from_bits(1);
const LEND: Rights = Rights::from_bits(2);
const TITLES: [&str; 3] = ["Rivers", "Bridges", "Clocks"];

fn main() -> Result<(), CapError> {
    let mut space = CapSpace::new()?;
    let library = space.create_table(Limits::live(100))?;
    let ada = space.create_table(Limits::live(3))?;
    let ben = space.create_table(Limits::live(3))?;

    let mut shelf = Vec::new();
    for number in 0..3 {
        shelf.push(space.insert_root(library, Book(number), READ | LEND)?);
    }
    let adas = lend(&mut space, library, shelf[0], ada, READ | LEND)?;
    let bens = lend(&mut space, ada, adas, ben, READ)?;
    show(&space, &[("library", library), ("ada", ada), ("ben", ben)])?;

    println!(
        "ben tries to lend it on: {:?}",
        lend(&mut space, ben, bens, ada, READ)
    );
    println!("ada returns her copy; ben's hangs from the library's now");
    space.close(ada, adas)?;

    println!("the library calls book 0 in:");
    space.revoke(library, shelf[0], |Book(number)| {
        println!("  a loan of {number} ends")
    })?;
    println!(
        "ben reads: {:?}",
        space.query(ben, bens).map(|entry| entry.object)
    );
    show(&space, &[("library", library), ("ada", ada), ("ben", ben)])
}

/// Needs the right to lend.
fn lend(
    space: &mut CapSpace<Book>,
    from: TableId,
    book: Handle,
    to: TableId,
    rights: Rights,
) -> Result<Handle, CapError> {
    space.table(from)?.require(book, LEND)?;
    space.copy(from, book, to, rights)
}

fn show(space: &CapSpace<Book>, who: &[(&str, TableId)]) -> Result<(), CapError> {
    for (name, table) in who {
        let table = space.table(*table)?;
        print!("{name:>8}:");
        for (handle, entry) in table {
            print!(" {}={handle:?}", TITLES[usize::from(entry.object.0)]);
        }
        println!();
    }
    Ok(())
}
