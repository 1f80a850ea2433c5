//! Programs that are kept in memory: started again without being read again.

use crate::own::load_open;
use alloc::rc::Rc;
use alloc::vec::Vec;
use viper_proto::fs::{Attributes, Files, flags};
use viper_proto::names;
use viper_rt::Error;
use viper_rt::spawn::Program;

/// How many are kept.
const KEPT_MAX: usize = 8;

/// The programs that were started last, each for as long as its file is the same.
#[derive(Debug, Default)]
pub struct Kept {
    /// The last one first.
    programs: Vec<(Identity, Rc<Program>)>,
}

/// What a file has that is another one, or has been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    size_bytes: u64,
    changed_ns: u64,
}

impl Kept {
    /// The program of an executable: from memory, or from its file.
    ///
    /// # Errors
    /// Those of the file service, [`Error::NotExecutable`].
    pub fn load(
        &mut self,
        names: &names::Client,
        files: &mut Files,
        path: &str,
    ) -> Result<Rc<Program>, Error> {
        let now = Identity::of(files.stat_path(names, path, true)?);
        if let Some(at) = self.programs.iter().position(|(of, _)| *of == now) {
            if let Some(first) = self.programs.get_mut(..=at) {
                first.rotate_right(1);
            }
            let first = self.programs.first().ok_or(Error::NotFound)?;
            return Ok(first.1.clone());
        }
        let (file, before) = files.open(names, path, flags::READ, 0)?;
        let program = load_open(names, files, file, before.size_bytes);
        let after = files.stat(names, file);
        let _ = files.close(file);
        let program = Rc::new(program?);
        // Not if it was written to while it was read.
        let (before, after) = (Identity::of(before), Identity::of(after?));
        if before == after {
            self.programs.truncate(KEPT_MAX - 1);
            self.programs.insert(0, (before, program.clone()));
        }
        Ok(program)
    }
}

impl Identity {
    fn of(attributes: Attributes) -> Identity {
        Identity {
            inode: attributes.inode,
            size_bytes: attributes.size_bytes,
            changed_ns: attributes.changed_ns,
        }
    }
}
