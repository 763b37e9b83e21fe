#include "coordinator/diskfs/control_server.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/diskfs/disk_control.h"
#include "coordinator/diskfs/disk_json.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using diskcontrol::DiskControl;
using vdisk::Access;
using vdisk::Disk;

namespace {

struct Served {
  Served() {
    REQUIRE(vdisk::create_disk(os::real_file_system(), directory / "base.vhdx", 8 << 20));
    REQUIRE(vdisk::create_child(os::real_file_system(), directory / "base.vhdx", path));
    disk = Disk::open(os::real_file_system(), path, Access::write).value();
    server = diskfs::ControlServer::listen(*disk, diskcontrol::default_socket(path)).value();
    REQUIRE(server->start());
  }
  support::TemporaryDirectory directory;
  std::string path = directory / "a.vhdx";
  std::unique_ptr<Disk> disk;
  std::unique_ptr<diskfs::ControlServer> server;
};

std::string ask(int descriptor, const std::string& text) {
  REQUIRE(::send(descriptor, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  std::string answer;
  char c = 0;
  while (::recv(descriptor, &c, 1, 0) == 1 && c != '\n') answer += c;
  return answer;
}

}  // namespace

TEST_CASE("a mounted disk is asked, frozen, merged and flushed through its socket") {
  Served served;
  auto control = DiskControl::connect(diskcontrol::default_socket(served.path));
  REQUIRE(control);
  REQUIRE(served.disk->write(0, Bytes(1000, std::byte{1})));
  REQUIRE(control->flush());
  auto first = control->freeze();
  REQUIRE(first);
  CHECK(first->frozen_path == served.directory / "a.0001.vhdx");
  CHECK(first->active_path == served.path);
  REQUIRE(served.disk->write(5000, Bytes(1000, std::byte{2})));
  auto second = control->freeze();
  REQUIRE(second);
  REQUIRE(control->merge(1));
  auto layers = control->info();
  REQUIRE(layers);
  REQUIRE(layers->size() == 3);
  auto actual = served.disk->layers();
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK((*layers)[i].path == actual[i].path);
    CHECK((*layers)[i].id == actual[i].id);
    CHECK((*layers)[i].parent_id == actual[i].parent_id);
    CHECK((*layers)[i].kind == actual[i].kind);
    CHECK((*layers)[i].virtual_bytes == actual[i].virtual_bytes);
  }
  CHECK((*layers)[1].id == second->frozen_id);
  auto refused = control->merge(1);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::denied);
  CHECK(refused.error().message.find("base.vhdx") != std::string::npos);
}

TEST_CASE("the socket is its owner's alone, an old one is replaced, a living one is not") {
  support::TemporaryDirectory directory;
  auto path = directory / "s";
  CHECK(DiskControl::connect(path).error().code == ErrorCode::unavailable);
  { auto left = diskcontrol::listen_unix(path).value(); }
  CHECK(DiskControl::connect(path).error().code == ErrorCode::unavailable);
  auto listener = diskcontrol::listen_unix(path);
  REQUIRE(listener);
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(diskcontrol::listen_unix(path).error().code == ErrorCode::busy);
  REQUIRE(os::write_file_durably(os::real_file_system(), directory / "file", as_bytes("x")));
  CHECK(diskcontrol::listen_unix(directory / "file").error().code == ErrorCode::exists);
}

TEST_CASE("sockets work below paths longer than a socket address") {
  support::TemporaryDirectory directory;
  auto deep = directory.path();
  for (int i = 0; i < 8; ++i) deep += "/a-folder-with-a-long-name";
  REQUIRE(os::real_file_system().make_directories(deep));
  auto listener = diskcontrol::listen_unix(deep + "/disk.vhdx.control");
  REQUIRE(listener);
  CHECK(DiskControl::connect(deep + "/disk.vhdx.control"));
}

TEST_CASE("nonsense is answered by an error and does not disturb others") {
  Served served;
  auto socket = diskcontrol::connect_unix(diskcontrol::default_socket(served.path));
  REQUIRE(socket);
  for (const char* line : {"nonsense\n", "[]\n", "{\"op\":7}\n", "{\"op\":\"merge\"}\n",
                           "{\"op\":\"merge\",\"layer\":-1}\n", "\n", "{\"op\":\"burn\"}\n"})
    CHECK(ask(socket->number(), line).find("invalid") != std::string::npos);
  CHECK(ask(socket->number(), "{\"op\":\"merge\",\"layer\":18446744073709551615}\n").find("error") !=
        std::string::npos);
  auto endless = diskcontrol::connect_unix(diskcontrol::default_socket(served.path));
  REQUIRE(endless);
  std::string text(1 << 18, 'x');
  static_cast<void>(::send(endless->number(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  CHECK(ask(socket->number(), "{\"op\":\"flush\"}\n").find("true") != std::string::npos);
  CHECK(DiskControl::connect(diskcontrol::default_socket(served.path))->info());
}
