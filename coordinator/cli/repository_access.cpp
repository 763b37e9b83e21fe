#include "coordinator/cli/repository_access.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "coordinator/admin/commands.h"
#include "coordinator/config/loader.h"
#include "coordinator/server/commands.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxAnswerBytes = 256u << 20;

tl::unexpected<Error> socket_error(const std::string& path, const std::string& what) {
  return fail(ErrorCode::unavailable, path + ": " + what + ": " + std::strerror(errno));
}

class AdminSocket {
 public:
  ~AdminSocket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  // `limit`: of each send and receive; 0: none.
  Result<void> connect(const std::string& path, std::chrono::milliseconds limit = {}) {
    path_ = path;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
      return fail(ErrorCode::invalid_argument,
                  path + ": too long for a socket's path; use a shorter state directory");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    descriptor_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor_ < 0) return socket_error(path, "cannot make a socket");
    if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      return socket_error(path, "cannot reach the coordinator");
    if (limit.count() != 0) {
      const timeval time{limit.count() / 1000, static_cast<suseconds_t>(limit.count() % 1000) * 1000};
      ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
      ::setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
    }
    return {};
  }
  // Who is at the other end; 0: unknown.
  int peer() const {
    ucred who{};
    socklen_t size = sizeof who;
    return ::getsockopt(descriptor_, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 ? who.pid : 0;
  }

  Result<void> send_line(std::string line) {
    line += '\n';
    for (std::size_t done = 0; done < line.size();) {
      auto count = ::send(descriptor_, line.data() + done, line.size() - done, MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EPIPE) return {};  // it closed already: why, is in what it sent before
      if (count < 0) return socket_error(path_, "cannot send to the coordinator");
      done += static_cast<std::size_t>(count);
    }
    return {};
  }

  Result<std::string> receive_line() {
    for (;;) {
      auto end = buffer_.find('\n', searched_);
      if (end != std::string::npos) {
        auto line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        searched_ = 0;
        return line;
      }
      searched_ = buffer_.size();
      if (buffer_.size() > kMaxAnswerBytes)
        return fail(ErrorCode::protocol, path_ + ": the coordinator's answer is too long");
      char part[65536];
      auto count = ::recv(descriptor_, part, sizeof part, 0);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return socket_error(path_, "cannot receive from the coordinator");
      if (count == 0)
        return fail(
            ErrorCode::unavailable,
            path_ + ": the coordinator went away before it answered; whether it did the command is unknown");
      buffer_.append(part, static_cast<std::size_t>(count));
    }
  }

 private:
  std::string path_;
  int descriptor_ = -1;
  std::string buffer_;
  std::size_t searched_ = 0;
};

void show(const Context& context, const admin::Progress& progress) {
  context.progress(progress.what, progress.done, progress.total);
}

// `unreachable`: what it means when nobody answers at the socket.
Result<json> ask_coordinator(const std::string& path, const json& request, const Context& context,
                             const std::string& unreachable) {
  AdminSocket socket;
  RS_CHECK_CTX(unreachable, socket.connect(path));
  RS_CHECK(socket.send_line(request.dump(-1, ' ', false, json::error_handler_t::replace)));
  for (;;) {
    RS_TRY(auto line, socket.receive_line());
    auto answer = json::parse(line, nullptr, false);
    if (!answer.is_object()) return fail(ErrorCode::protocol, "the coordinator's answer is no JSON object");
    if (answer.contains("result")) return answer["result"];
    if (answer.contains("error")) return fail(admin::parse_error(answer["error"]));
    if (!answer.contains("progress") || !answer["progress"].is_object()) continue;
    const auto& progress = answer["progress"];
    auto number = [&](const char* name) {
      auto found = progress.find(name);
      return found != progress.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
    };
    auto what = progress.find("what");
    show(context, {what != progress.end() && what->is_string() ? what->get<std::string>() : "working",
                   number("done"), number("total")});
  }
}

}  // namespace

void RepositoryChoice::add_to(CLI::App& verb) {
  verb.add_option("--repo", directory, "The repository's directory")->envname("ROAMSTEAD_REPO");
  verb.add_option("--state", state_directory,
                  "The local state directory (default: state in the repository's)");
}

void RepositoryChoice::add_to_with_positional(CLI::App& verb) {
  verb.add_option("dir,--repo", directory, "The repository's directory")->envname("ROAMSTEAD_REPO");
  verb.add_option("--state", state_directory,
                  "The local state directory (default: state in the repository's)");
}

Result<repository::Options> RepositoryChoice::options(bool read_only) const {
  if (directory.empty()) return configured(read_only);
  return repository::Options{
      directory, state_directory.empty() ? os::join_path(directory, "state") : state_directory, read_only};
}

std::string configuration_file() {
  const char* named = std::getenv("ROAMSTEAD_CONFIG");
  return named != nullptr && *named != '\0' ? named : config::kDefaultFile;
}

// That of the coordinator of this host.
Result<repository::Options> RepositoryChoice::configured(bool read_only) const {
  RS_TRY(auto loaded, config::load(os::real_file_system(), {configuration_file(), true, {}}));
  const auto& chosen = loaded.config.repository.directory;
  if (chosen.empty())
    return fail(ErrorCode::invalid_argument,
                std::string("which repository? Give --repo DIR, set ROAMSTEAD_REPO, or "
                            "name it in ") +
                    config::kDefaultFile);
  return repository::Options{
      chosen, state_directory.empty() ? config::state_directory(loaded.config) : state_directory, read_only};
}

Result<std::string> RepositoryChoice::admin_socket() const {
  RS_TRY(auto chosen, options(true));
  if (directory.empty()) {
    RS_TRY(auto loaded, config::load(os::real_file_system(), {configuration_file(), true, {}}));
    if (!loaded.config.admin.socket.empty()) return loaded.config.admin.socket;
  }
  return os::join_path(chosen.state_directory, admin::kSocketName);
}

Result<std::unique_ptr<repository::Repository>> open_for_reading(const RepositoryChoice& choice) {
  RS_TRY(auto options, choice.options(true));
  return repository::Repository::open(os::real_file_system(), options);
}

namespace {

// Who is not the repository's owner could not open it, or (root) would make files there that its owner could
// not use: the coordinator is asked.
bool belongs_to_another(const repository::Options& options) {
  struct stat status {};
  if (::stat(options.directory.c_str(), &status) != 0) return errno == EACCES;
  return status.st_uid != ::geteuid();
}

}  // namespace

Result<json> run_command(const RepositoryChoice& choice, const json& request, const Context& context) {
  RS_TRY(auto options, choice.options(false));
  RS_TRY(auto socket, choice.admin_socket());
  if (belongs_to_another(options)) {
    auto answer = ask_coordinator(socket, request, context,
                                  options.directory +
                                      " belongs to another user; start the coordinator, or run this as that "
                                      "user (sudo -u roamstead roamstead ...)");
    context.end_progress();
    return answer;
  }
  RS_TRY(auto faults, Faults::from_environment());
  auto opened = repository::Repository::open(os::real_file_system(), options, std::move(faults));
  auto result = [&]() -> Result<json> {
    if (opened)
      return server::execute_alone(**opened, options.state_directory, request,
                                   [&](const admin::Progress& progress) { show(context, progress); });
    if (opened.error().code == ErrorCode::busy)
      return ask_coordinator(socket, request, context,
                             "the repository is in use by another program, which does not answer");
    return fail(std::move(opened).error());
  }();
  context.end_progress();
  return result;
}

Result<json> ask_running_coordinator(const RepositoryChoice& choice, const json& request,
                                     const Context& context) {
  RS_TRY(auto socket, choice.admin_socket());
  return ask_coordinator(socket, request, context, "no coordinator answers");
}

Result<RunningAnswer> ask_running(const std::string& socket_path, const json& request,
                                  std::chrono::milliseconds limit) {
  const auto began = std::chrono::steady_clock::now();
  AdminSocket socket;
  RS_CHECK(socket.connect(socket_path, limit));
  RS_CHECK(socket.send_line(request.dump(-1, ' ', false, json::error_handler_t::replace)));
  for (;;) {
    RS_TRY(auto line, socket.receive_line());
    auto answer = json::parse(line, nullptr, false);
    if (!answer.is_object()) return fail(ErrorCode::protocol, "the coordinator's answer is no JSON object");
    if (answer.contains("error")) return fail(admin::parse_error(answer["error"]));
    if (!answer.contains("result")) continue;
    return RunningAnswer{
        answer["result"], socket.peer(),
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began)};
  }
}

}  // namespace roamstead::cli
