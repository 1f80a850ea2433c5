//! What the user sees of long work: bars on a terminal, plain lines elsewhere. All on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One piece of long work.
#[derive(Debug)]
pub struct Step {
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    announced: bool,
    count: u64,
}

impl Step {
    /// Begins a step; on a terminal a spinner with `name` appears.
    pub fn begin(name: impl Into<String>) -> Self {
        let name = name.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}");
            bar.set_style(style.expect("the template is valid"));
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            name,
            bar,
            started: Instant::now(),
            announced: false,
            count: 0,
        }
    }

    /// One part of the step is done.
    pub fn advance(&mut self, part: &str) {
        self.count += 1;
        match &self.bar {
            Some(bar) => bar.set_message(format!("{} ({})", part, self.count)),
            None if !self.announced => {
                eprintln!("distro: {}", self.name);
                self.announced = true;
            }
            None => {}
        }
    }

    /// Prints what a compiler said, above the bar.
    pub fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprint!("{text}")),
            None => eprint!("{text}"),
        }
    }

    /// Ends the step. Says so only when there was something to do.
    pub fn end(mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.count > 0 {
            let seconds = self.started.elapsed().as_secs_f32();
            eprintln!(
                "distro: {} done, {} parts in {seconds:.1} s",
                self.name, self.count
            );
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Prints a warning on stderr.
pub fn warn(text: impl std::fmt::Display) {
    eprintln!("distro: warning: {text}");
}

/// Prints a note on stderr.
pub fn note(text: impl std::fmt::Display) {
    eprintln!("distro: {text}");
}
