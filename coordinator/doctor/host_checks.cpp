#include "coordinator/doctor/host_checks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "common/base/host_port.h"
#include "common/os/file.h"
#include "common/wire/openssl_handles.h"

namespace roamstead::doctor {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{20};
constexpr std::uint64_t kGibibyte = 1ull << 30;

std::string reason() { return std::strerror(errno); }

// Runs `look` on a thread of its own; storage that hangs does not hang the doctor. Nothing: it did not end.
template <class Look>
auto within_patience(Look look) -> std::optional<decltype(look())> {
  auto task = std::make_shared<std::packaged_task<decltype(look())()>>(std::move(look));
  auto result = task->get_future();
  std::thread([task] { (*task)(); }).detach();
  if (result.wait_for(kPatience) != std::future_status::ready) return std::nullopt;
  return result.get();
}

// Nameless where the file system can do that, so that nothing is left behind.
int open_nameless(const std::string& directory) {
  auto descriptor = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)) return descriptor;
  auto name = directory + "/.doctor-XXXXXX";
  descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor >= 0) ::unlink(name.c_str());
  return descriptor;
}

Finding check_space(const std::string& what, const std::string& directory) {
  const auto name = what + " space";
  struct statvfs status {};
  if (::statvfs(directory.c_str(), &status) != 0)
    return bad(name, Event::doctor_space, directory + ": " + reason());
  const auto free = std::uint64_t{status.f_bavail} * status.f_frsize;
  const auto all = std::max<std::uint64_t>(1, std::uint64_t{status.f_blocks} * status.f_frsize);
  auto text = fmt::format("{:.1f} of {:.1f} GiB free", static_cast<double>(free) / kGibibyte,
                          static_cast<double>(all) / kGibibyte);
  const bool few_inodes = status.f_files != 0 && status.f_favail < 1000;
  if (few_inodes) text += fmt::format(", {} files may still be made", status.f_favail);
  if (free < kGibibyte / 4 || status.f_favail == 0) {
    if (status.f_files != 0 || free < kGibibyte / 4) return bad(name, Event::doctor_space, text);
  }
  if (few_inodes || (free < all / 10 && free < 50 * kGibibyte))
    return doubtful(name, Event::doctor_space, text);
  return good(name, text);
}

Finding check_flush(const std::string& what, const std::string& directory) {
  const auto name = what + " flush";
  const int file = open_nameless(directory);
  if (file < 0) {
    if (errno == EACCES || errno == EPERM)
      return doubtful(name, Event::doctor_not_allowed, directory + ": " + reason());
    return bad(name, Event::doctor_storage, directory + ": cannot make a file: " + reason());
  }
  std::array<char, 4096> block{};
  std::vector<double> took;
  bool failed = false;
  for (int i = 0; i < 5 && !failed; ++i) {
    const auto began = Clock::now();
    failed = ::pwrite(file, block.data(), block.size(), i * 4096) != 4096 || ::fsync(file) != 0;
    took.push_back(std::chrono::duration<double, std::milli>(Clock::now() - began).count());
  }
  const auto why = reason();
  ::close(file);
  if (failed) return bad(name, Event::doctor_storage, directory + ": a write or flush failed: " + why);
  std::sort(took.begin(), took.end());
  auto text =
      fmt::format("4 KiB written and flushed in {:.1f} ms (median), {:.1f} ms at most", took[2], took[4]);
  if (took[2] > 1000) return bad(name, Event::doctor_slow, text);
  if (took[2] > 50) return doubtful(name, Event::doctor_slow, text);
  return good(name, text);
}

Finding expiry(const std::string& what, const X509* certificate) {
  int days = 0, seconds = 0;
  if (ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate)) != 1)
    return bad(what, Event::doctor_certificate, "its end cannot be read");
  if (days < 0 || seconds < 0)
    return bad(what, Event::doctor_certificate, fmt::format("ended {} days ago", -days));
  int behind_days = 0, behind_seconds = 0;
  if (ASN1_TIME_diff(&behind_days, &behind_seconds, X509_get0_notBefore(certificate), nullptr) == 1 &&
      (behind_days < 0 || behind_seconds < 0))
    return bad(what, Event::doctor_certificate, "is not good yet: is the clock right?");
  auto text = fmt::format("good for {} days", days);
  return days < 21 ? doubtful(what, Event::doctor_certificate, text) : good(what, text);
}

int connect_to(const std::string& host, const std::string& port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return -1;
  int connected = -1;
  for (auto* each = found; each != nullptr && connected < 0; each = each->ai_next) {
    connected = ::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connected < 0) continue;
    const timeval limit{5, 0};
    ::setsockopt(connected, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(connected, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (::connect(connected, each->ai_addr, each->ai_addrlen) == 0) break;
    ::close(connected);
    connected = -1;
  }
  ::freeaddrinfo(found);
  return connected;
}

}  // namespace

std::string_view to_string(Health health) {
  return health == Health::ok ? "ok" : health == Health::warn ? "warn" : "fail";
}

Health worst(const std::vector<Finding>& findings) {
  auto health = Health::ok;
  for (const auto& finding : findings) health = std::max(health, finding.health);
  return health;
}

std::vector<Finding> check_storage(const std::string& what, const std::string& directory) {
  auto looked = within_patience([what, directory] {
    return std::vector<Finding>{check_space(what, directory), check_flush(what, directory)};
  });
  if (looked) return *looked;
  return {bad(what + " flush", Event::doctor_storage,
              directory + fmt::format(": does not answer within {} s", kPatience.count()))};
}

Finding check_repository(const std::string& directory) {
  auto look = [directory]() -> Finding {
    auto& files = os::real_file_system();
    auto there = files.exists(os::join_path(directory, "packs"));
    if (!there) return bad("repository", Event::doctor_repository, there.error().to_string());
    if (!*there) return bad("repository", Event::doctor_repository, directory + ": there is no repository");
    auto names = files.list_directory(os::join_path(directory, "packs"));
    if (names) return good("repository", fmt::format("{}: {} writer epochs", directory, names->size()));
    return doubtful("repository", Event::doctor_not_allowed, names.error().to_string());
  };
  if (auto looked = within_patience(look)) return *looked;
  return bad("repository", Event::doctor_repository,
             directory + fmt::format(": does not answer within {} s", kPatience.count()));
}

Finding check_clock(const std::string& state_directory) {
  struct stat status {};
  if (::stat(os::join_path(state_directory, "state.db").c_str(), &status) == 0) {
    const auto ahead = status.st_mtime - ::time(nullptr);
    if (ahead > 60)
      return bad(
          "clock", Event::doctor_clock,
          fmt::format("the state database was written {} s in the future: the clock went back", ahead));
  }
  timex state{};
  if (::adjtimex(&state) < 0) return doubtful("clock", Event::doctor_clock, "cannot be asked: " + reason());
  if ((state.status & STA_UNSYNC) != 0)
    return doubtful("clock", Event::doctor_clock, "is not synchronised with any other");
  return good("clock", fmt::format("synchronised, off by at most {} ms", state.maxerror / 1000));
}

Finding check_state_database(const std::string& state_directory, bool running) {
  const auto path = os::join_path(state_directory, "state.db");
  struct stat status {};
  if (::access(path.c_str(), R_OK) != 0) {
    if (errno == ENOENT) return good("state database", path + ": none yet");
    return doubtful("state database", Event::doctor_not_allowed, path + ": " + reason());
  }
  // Opened as any other reader, it would get files that the coordinator's user cannot write.
  if (!running && ::stat((path + "-wal").c_str(), &status) == 0 && status.st_size != 0)
    return good("state database",
                "is checked when the coordinator next starts: its write-ahead log is not empty");
  const auto address = "file:" + path + (running ? "?mode=ro" : "?mode=ro&immutable=1");
  sqlite3* database = nullptr;
  auto problem = std::string("cannot be opened");
  if (sqlite3_open_v2(address.c_str(), &database, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, nullptr) ==
      SQLITE_OK) {
    sqlite3_busy_timeout(database, 5000);
    sqlite3_stmt* check = nullptr;
    problem = "cannot be read";
    if (sqlite3_prepare_v2(database, "PRAGMA quick_check(1)", -1, &check, nullptr) == SQLITE_OK &&
        sqlite3_step(check) == SQLITE_ROW)
      problem = reinterpret_cast<const char*>(sqlite3_column_text(check, 0));
    else
      problem += std::string(": ") + sqlite3_errmsg(database);
    sqlite3_finalize(check);
  }
  sqlite3_close(database);
  if (problem == "ok") return good("state database", "whole");
  return bad("state database", Event::doctor_state, path + ": " + problem);
}

Finding check_certificate_file(const std::string& what, const std::string& path) {
  auto pem = os::read_file(os::real_file_system(), path, 64u << 10);
  if (!pem) return doubtful(what, Event::doctor_not_allowed, pem.error().to_string());
  wire::BioHandle bio(BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())));
  wire::CertificateHandle certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!certificate) return bad(what, Event::doctor_certificate, path + ": is no certificate");
  return expiry(what, certificate.get());
}

Finding check_server_certificate(const std::string& address) {
  const auto name = std::string("server certificate");
  auto place = parse_host_port(address);
  if (!place) return bad(name, Event::doctor_unanswered, place.error().to_string());
  const int socket = connect_to(place->host, std::to_string(place->port));
  if (socket < 0) return bad(name, Event::doctor_unanswered, address + ": cannot be reached");
  wire::OpenSslHandle<SSL_CTX_free> context(SSL_CTX_new(TLS_client_method()));
  // Only to look: whom it speaks for, desktops check.
  wire::OpenSslHandle<SSL_free> tls(context ? SSL_new(context.get()) : nullptr);
  Finding finding = bad(name, Event::doctor_unanswered, address + ": no TLS handshake");
  if (tls && SSL_set_fd(tls.get(), socket) == 1 && SSL_connect(tls.get()) == 1) {
    wire::CertificateHandle certificate(SSL_get1_peer_certificate(tls.get()));
    if (certificate) finding = expiry(name, certificate.get());
  }
  ::close(socket);
  return finding;
}

Finding check_private(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    return doubtful("secrets", Event::doctor_not_allowed, path + ": " + reason());
  if ((status.st_mode & 077) == 0) return good("secrets", path + ": for its owner alone");
  return bad("secrets", Event::doctor_exposed,
             fmt::format("{}: others may read or write it (mode {:o})", path, status.st_mode & 0777));
}

int lock_holder(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return 0;
  const auto wanted =
      fmt::format("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, pid, place;
    if (words >> number >> kind >> mode >> access >> pid >> place && place == wanted)
      return std::atoi(pid.c_str()) > 0 ? std::atoi(pid.c_str()) : -1;
  }
  return 0;
}

Finding check_limits(int pid, std::uint64_t connections) {
  std::ifstream limits("/proc/" + std::to_string(pid) + "/limits");
  const std::string prefix = "Max open files";
  for (std::string line; std::getline(limits, line);) {
    if (line.rfind(prefix, 0) != 0) continue;
    const auto allowed = std::strtoull(line.c_str() + prefix.size(), nullptr, 10);
    constexpr std::uint64_t kBesides = 512;  // packs, spool, database, administrators
    auto text = fmt::format("{} files may be open, {} connections are allowed", allowed, connections);
    if (allowed < connections + kBesides) return doubtful("limits", Event::doctor_limits, text);
    return good("limits", text);
  }
  return doubtful("limits", Event::doctor_not_allowed, "the coordinator's limits cannot be read");
}

Finding check_program(int pid) {
  std::array<char, 4096> target{};
  const auto size =
      ::readlink(("/proc/" + std::to_string(pid) + "/exe").c_str(), target.data(), target.size() - 1);
  if (size < 0)
    return doubtful("program", Event::doctor_not_allowed, "the coordinator's program: " + reason());
  const std::string path(target.data(), static_cast<std::size_t>(size));
  if (path.ends_with(" (deleted)"))
    return doubtful("program", Event::doctor_outdated,
                    "the running coordinator's program was replaced: " + path);
  return good("program", path);
}

}  // namespace roamstead::doctor
