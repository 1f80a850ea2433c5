//! Bytes in a ring.

use alloc::collections::VecDeque;

/// Moves bytes off the front of a queue. Returns how many.
pub(crate) fn take_front(queue: &mut VecDeque<u8>, to: &mut [u8]) -> usize {
    let (front, back) = queue.as_slices();
    let count = to.len().min(queue.len());
    let (first, second) = to[..count].split_at_mut(count.min(front.len()));
    first.copy_from_slice(&front[..first.len()]);
    second.copy_from_slice(&back[..second.len()]);
    queue.drain(..count);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_around_the_end_of_the_ring() {
        let mut queue = VecDeque::with_capacity(8);
        let (mut next, mut expected) = (0u8, 0u8);
        for len in [3usize, 5, 1, 7, 4, 6, 2, 8] {
            (0..len).for_each(|_| {
                queue.push_back(next);
                next += 1;
            });
            let mut part = [0; 5];
            let count = take_front(&mut queue, &mut part);
            for byte in &part[..count] {
                assert_eq!(*byte, expected);
                expected += 1;
            }
        }
        assert_eq!(queue.len(), usize::from(next - expected));
    }
}
