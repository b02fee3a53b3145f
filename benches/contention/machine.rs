//! What the machine says of itself: processor time and bytes on its network, where it is a Linux.

use std::fs;

/// The length of a tick in seconds: the kernel's `USER_HZ`, which is 100 on every platform that Rust has.
const TICK: f64 = 0.01;

/// The seconds of processor time that this process has used; not a number where the system does not tell.
pub(crate) fn own_cpu() -> f64 {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return f64::NAN };
    // Behind the name, which may have spaces in it.
    let Some((_, fields)) = stat.rsplit_once(')') else { return f64::NAN };
    let ticks = |at: usize| fields.split_whitespace().nth(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(11) + ticks(12)) * TICK
}

/// The seconds of processor time that anybody on this machine has used.
pub(crate) fn all_cpu() -> f64 {
    let Ok(stat) = fs::read_to_string("/proc/stat") else { return f64::NAN };
    let times = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).map(|text| text.parse().unwrap_or(0.0));
    // All but idle and waiting for a disk.
    times.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks): (usize, f64)| ticks).sum::<f64>() * TICK
}

/// The bytes that were sent over any network interface, headers included; what goes over loopback is counted once.
pub(crate) fn sent_bytes() -> f64 {
    let Ok(dev) = fs::read_to_string("/proc/net/dev") else { return f64::NAN };
    let sent = dev.lines().filter_map(|line| line.split_once(':')?.1.split_whitespace().nth(8)?.parse::<f64>().ok());
    sent.sum()
}
