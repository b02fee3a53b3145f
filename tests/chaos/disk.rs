//! A node's disk: a file system of its own, which can be full and can lose power.
//!
//! It is ext4 in a file, mounted through a loop device, which needs the rights of root. A loss of power is ext4's own
//! `EXT4_IOC_SHUTDOWN` without a flush of the journal (what xfstests call "godown"): from that moment nothing more reaches the image, and whoever mounts it
//! again sees what had been written back by then. Where nothing can be mounted there is no disk: whoever wanted one says so.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// How large it is: enough for an hour of the workload, and quickly full.
const SIZE: u64 = 384 << 20;
/// `_IOR('X', 125, __u32)`, and its flag that leaves the journal as it is on the disk.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// Makes a disk and mounts it at `place`.
    pub(crate) fn mount(image: PathBuf, place: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&place)?;
        fs::File::create(&image)?.set_len(SIZE)?;
        // No blocks are kept for root, who is who fills it.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        let disk = Self { image, place };
        disk.attach()?;
        Ok(disk)
    }

    fn attach(&self) -> io::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.place))
    }

    fn detach(&self) -> io::Result<()> {
        run(Command::new("umount").arg(&self.place))
    }

    fn ballast(&self) -> PathBuf {
        self.place.join("ballast")
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let mut ballast = fs::File::create(self.ballast())?;
        for size in [1 << 20, 4096] {
            let piece = vec![0; size];
            loop {
                match ballast.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn make_room(&self) -> io::Result<()> {
        fs::remove_file(self.ballast())
    }

    /// Lets nothing more reach the disk, as when the power fails. Whoever uses it has to be stopped before, and killed before
    /// [`power_on`](Self::power_on).
    pub(crate) fn power_off(&self) -> io::Result<()> {
        run(Command::new("python3").args(["-c", SHUTDOWN]).arg(&self.place))
    }

    /// Brings back what had reached the disk.
    pub(crate) fn power_on(&self) -> io::Result<()> {
        self.detach()?;
        self.attach()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // In a mount namespace of its own it goes away with the process, whatever becomes of this.
        let _ = self.detach();
        let _ = fs::remove_file(&self.image);
    }
}

/// Empties a directory, as a disk is that was replaced.
pub(crate) fn wipe(place: &Path) -> io::Result<u64> {
    let mut gone = 0;
    for entry in fs::read_dir(place)?.collect::<io::Result<Vec<_>>>()? {
        if entry.file_name() == "lost+found" {
            continue;
        }
        gone += 1;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(gone)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output().map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
