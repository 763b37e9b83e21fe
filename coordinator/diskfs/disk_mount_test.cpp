// A real mount: a volume made and written by ntfs-3g through it, frozen and merged meanwhile, then checked by
// others.
#include "coordinator/diskfs/disk_mount.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "common/volume/partition.h"
#include "coordinator/diskfs/disk_control.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;

namespace {

bool run(const std::string& command) {
  return std::system(("{ " + command + "; } >/dev/null 2>&1").c_str()) == 0;
}

// The server in a process of its own, as it is in life. Unmounted and waited for at the end.
class Mounted {
 public:
  Mounted(const std::string& disk, std::string mount_point, bool write_back = false)
      : mount_point_(std::move(mount_point)) {
    process_ = ::fork();
    if (process_ == 0) {
      diskfs::MountOptions options;
      options.disk_path = disk;
      options.mount_point = mount_point_;
      options.control_path = diskcontrol::default_socket(disk);
      options.write_back = write_back;
      options.foreground = true;
      ::_exit(diskfs::mount_disk(options) ? 0 : 1);
    }
    for (int i = 0; i < 500 && !run("test -e " + mount_point_ + "/disk.raw"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ~Mounted() {
    if (process_ > 0) end();
  }
  bool end() {
    bool unmounted = false;
    for (int i = 0; i < 100 && !unmounted;
         ++i) {  // ntfs-3g lets go of its file a moment after it is unmounted
      unmounted = run("fusermount3 -u " + mount_point_);
      if (!unmounted) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    int status = 0;
    ::waitpid(std::exchange(process_, 0), &status, 0);
    return unmounted && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  std::string mount_point_;
  pid_t process_;
};

// Of the first partition, as the frozen layer and those beneath it have it.
void copy_partition(const std::string& disk_path, const std::string& to) {
  auto disk = Disk::open(os::real_file_system(), disk_path, Access::read).value();
  auto partition = volume::read_partition_table(*disk).value().partitions.at(0);
  Bytes content(partition.size_bytes);
  REQUIRE(disk->read(partition.offset_bytes, content));
  std::ofstream(to, std::ios::binary)
      .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
}

}  // namespace

TEST_CASE("ntfs-3g works on a mounted disk through freezes and merges, and nothing is wrong afterwards") {
  if (::access("/dev/fuse", R_OK | W_OK) != 0 ||
      !run("command -v mkntfs && command -v ntfs-3g && command -v fls")) {
    MESSAGE("skipped: needs /dev/fuse, ntfs-3g and sleuthkit");
    return;
  }
  bool write_back = false;
  auto format = vdisk::Format::vhdx;
  SUBCASE("each write goes to the disk at once") {}
  SUBCASE("writes wait in the kernel") { write_back = true; }
  SUBCASE("over qcow2") { format = vdisk::Format::qcow2; }
  const auto suffix = "." + std::string(vdisk::to_string(format));
  support::TemporaryDirectory directory;
  auto& files = os::real_file_system();
  auto golden = directory / ("golden" + suffix);
  auto path = directory / ("a" + suffix);
  auto mount = directory / "mnt";
  auto ntfs = directory / "ntfs";
  auto volume = mount + "/p1.raw";
  REQUIRE(files.make_directories(mount));
  REQUIRE(files.make_directories(ntfs));
  REQUIRE(vdisk::create_disk(files, golden, 64 << 20, {.format = format}));
  {
    auto disk = Disk::open(files, golden, Access::write).value();
    REQUIRE(volume::create_single_partition(*disk, "Profile"));
  }
  {
    Mounted mounted(golden, mount, write_back);
    REQUIRE(run("mkntfs -Q -F " + volume));
    CHECK(mounted.end());
  }
  REQUIRE(vdisk::create_child(files, golden, path));
  {
    Mounted mounted(path, mount, write_back);
    REQUIRE(run("ntfs-3g " + volume + " " + ntfs));
    auto control = diskcontrol::DiskControl::connect(diskcontrol::default_socket(path));
    REQUIRE(control);
    auto write = [&](const std::string& name) {
      return run("for i in $(seq 40); do mkdir -p " + ntfs + "/d$((i%5)) && seq $((i*30)) > " + ntfs +
                 "/d$((i%5))/" + name + "$i || exit 1; done");
    };
    CHECK(write("a"));
    auto frozen = control->freeze();
    REQUIRE(frozen);
    const auto first = directory / "first.raw";
    copy_partition(frozen->frozen_path, first);
    CHECK(run("ntfsfix -n " + first));
    CHECK(run("fls -r " + first + " | grep -q a40"));
    CHECK(write("b"));
    REQUIRE(control->freeze());
    CHECK(run("rm -r " + ntfs + "/d3"));
    REQUIRE(control->merge(1));
    CHECK(write("c"));
    CHECK(run("umount " + ntfs));
    CHECK(mounted.end());
    CHECK_FALSE(files.exists(diskcontrol::default_socket(path)).value());
  }
  CHECK(Disk::open(files, path, Access::read).value()->layers().size() == 3);
  if (format == vdisk::Format::qcow2 && run("command -v qemu-img")) CHECK(run("qemu-img check " + path));
  {
    Mounted mounted(path, mount);
    CHECK(run("ntfsfix -n " + volume));
    CHECK(run("ntfs-3g.probe --readwrite " + volume));
    CHECK(run("fls -r " + volume + " | grep -q c40"));
    CHECK(run("ntfs-3g -o ro " + volume + " " + ntfs));
    CHECK(run("seq 1200 | cmp - " + ntfs + "/d0/a40 && seq 1170 | cmp - " + ntfs + "/d4/b39 && ! test -e " +
              ntfs + "/d3/b38 && test -e " + ntfs + "/d3/c38"));
    CHECK(run("umount " + ntfs));
    // A disk ends where it ends.
    CHECK_FALSE(run("truncate -s 1M " + mount + "/disk.raw"));
    CHECK_FALSE(run("dd if=/dev/zero of=" + mount + "/disk.raw bs=1M seek=64 count=1 conv=notrunc"));
    CHECK(mounted.end());
  }
}
