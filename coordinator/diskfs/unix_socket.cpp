#include "coordinator/diskfs/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/os/file.h"

namespace roamstead::diskcontrol {
namespace {

constexpr int kBacklog = 16;

tl::unexpected<Error> system_error(const std::string& path, const std::string& what,
                                   ErrorCode code = ErrorCode::io) {
  return fail(code, path + ": " + what + ": " + std::strerror(errno));
}

// A socket address holds 107 characters. Longer paths go by way of the directory's descriptor.
struct Address {
  Descriptor directory;
  sockaddr_un value{};
};

Result<Address> address_of(const std::string& path) {
  Address address;
  address.value.sun_family = AF_UNIX;
  auto shown = path;
  if (shown.size() >= sizeof address.value.sun_path) {
    address.directory =
        Descriptor(::open(os::parent_directory(path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (address.directory.number() < 0)
      return system_error(path, "cannot open its directory",
                          errno == ENOENT ? ErrorCode::unavailable : ErrorCode::io);
    shown = "/proc/self/fd/" + std::to_string(address.directory.number()) + "/" + os::base_name(path);
  }
  if (shown.size() >= sizeof address.value.sun_path)
    return fail(ErrorCode::invalid_argument, path + ": its name is too long for a socket");
  std::memcpy(address.value.sun_path, shown.data(), shown.size());
  return address;
}

Result<Descriptor> new_socket(const std::string& path) {
  Descriptor descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (descriptor.number() < 0) return system_error(path, "cannot make a socket");
  return descriptor;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

Result<Descriptor> connect_unix(const std::string& path) {
  RS_TRY(auto address, address_of(path));
  RS_TRY(auto descriptor, new_socket(path));
  if (::connect(descriptor.number(), reinterpret_cast<const sockaddr*>(&address.value),
                sizeof address.value) != 0)
    return system_error(path, "nobody serves it",
                        errno == ENOENT || errno == ECONNREFUSED ? ErrorCode::unavailable : ErrorCode::io);
  return descriptor;
}

Result<Descriptor> listen_unix(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) return fail(ErrorCode::exists, path + ": exists and is no socket");
    if (connect_unix(path)) return fail(ErrorCode::busy, path + ": another program serves it");
    if (::unlink(path.c_str()) != 0) return system_error(path, "cannot remove the old socket");
  }
  RS_TRY(auto address, address_of(path));
  RS_TRY(auto descriptor, new_socket(path));
  // Before bind, so that there is no moment at which others could connect.
  if (::fchmod(descriptor.number(), 0600) != 0) return system_error(path, "cannot set its mode");
  auto mask = ::umask(0177);
  auto bound =
      ::bind(descriptor.number(), reinterpret_cast<const sockaddr*>(&address.value), sizeof address.value);
  ::umask(mask);
  if (bound != 0) return system_error(path, "cannot make the control socket");
  if (::listen(descriptor.number(), kBacklog) != 0) return system_error(path, "cannot listen");
  return descriptor;
}

}  // namespace roamstead::diskcontrol
