// roamstead setup: a coordinator's repository, state, authority and configuration, asked for or as options
// say.
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <set>

#include "coordinator/cli/verbs.h"
#include "coordinator/config/addresses.h"
#include "coordinator/config/text.h"
#include "coordinator/identity/certificate_authority.h"
#include "coordinator/repository/repository.h"
#include "coordinator/server/authority_place.h"

namespace roamstead::cli {
namespace {

constexpr const char* kServiceHome = "/var/lib/roamstead";  // StateDirectory= of the unit
constexpr const char* kServiceUser = "roamstead";

struct SetupArguments {
  std::string repository = std::string(kServiceHome) + "/repository";
  std::string state = std::string(kServiceHome) + "/state";
  std::string name;
  std::string listen = "[::]:7420";
  std::string config = config::kDefaultFile;
  std::string user;
  std::string drop_ins = "/etc/systemd/system/roamstead-coordinator.service.d";
  std::vector<std::string> desktops;  // directories of pools' disks
  bool unattended = false;
};

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

// Asks on the terminal until the answer is good; an empty line takes what is offered.
Result<void> ask(const std::string& question, std::string& answer,
                 const std::function<Result<void>(const std::string&)>& check) {
  for (;;) {
    std::cerr << question << " [" << answer << "]: " << std::flush;
    std::string line;
    if (!std::getline(std::cin, line)) return fail(ErrorCode::cancelled, "no answer");
    if (line.empty()) line = answer;
    auto good = check(line);
    if (good) {
      answer = line;
      return {};
    }
    std::cerr << good.error().to_string() << '\n';
  }
}

Result<void> check_place(const std::string& path) {
  if (!path.empty() && path.front() == '/') return {};
  return fail(ErrorCode::invalid_argument, "'" + path + "' is no absolute path");
}

Result<void> ask_all(SetupArguments& arguments) {
  if (::isatty(STDIN_FILENO) == 0)
    return fail(ErrorCode::invalid_argument,
                "nobody is there to be asked; give --unattended and what is to be "
                "different from the defaults (see --help)");
  RS_CHECK(ask("Directory of the repository, on shared storage", arguments.repository, check_place));
  RS_CHECK(ask("Directory of the coordinator's state, on a local disk", arguments.state, check_place));
  RS_CHECK(ask("Name or address by which desktops find this host", arguments.name, config::check_host_name));
  return ask("Address and port to listen on", arguments.listen, config::check_listen_address);
}

// Parents too, each of which everybody may pass and read.
Result<void> make_public_directory(const std::string& path) {
  std::error_code failed;
  auto mask = ::umask(022);
  std::filesystem::create_directories(path, failed);
  ::umask(mask);
  if (failed) return fail(ErrorCode::io, path + ": cannot make the directory: " + failed.message());
  return {};
}

// What holds no secrets, and every administrator may read.
Result<void> write_public_file(const std::string& path, const std::string& text) {
  RS_CHECK(os::write_file_durably(os::real_file_system(), path, as_bytes(text)));
  if (::chmod(path.c_str(), 0644) != 0) return fail(ErrorCode::io, path + ": " + std::strerror(errno));
  return {};
}

// Whom the files belong to: the service's user where root sets up, otherwise whoever does.
class Owner {
 public:
  static Result<Owner> find(const std::string& name) {
    Owner owner;
    if (::geteuid() != 0) return owner;
    auto wanted = name.empty() ? std::string(kServiceUser) : name;
    const auto* entry = ::getpwnam(wanted.c_str());
    if (entry == nullptr)
      return fail(ErrorCode::not_found,
                  "there is no user '" + wanted +
                      "'; install the package, or say with --user who runs the coordinator");
    owner.name_ = wanted;
    owner.user_ = entry->pw_uid;
    owner.group_ = entry->pw_gid;
    return owner;
  }

  // A directory that is made now belongs to the owner; one that is there stays as it is.
  Result<void> make_directory(const std::string& path) const {
    auto& files = os::real_file_system();
    RS_TRY(bool there, files.exists(path));
    if (there) return {};
    RS_CHECK(make_public_directory(path));
    if (::chmod(path.c_str(), 0700) != 0 || (!name_.empty() && ::chown(path.c_str(), user_, group_) != 0))
      return fail(ErrorCode::io, path + ": cannot be given to user '" + name_ + "': " + std::strerror(errno));
    return {};
  }

  // What is done as the owner makes files that the owner may read, and fails where the owner could not write.
  Result<void> as_owner(const std::function<Result<void>()>& work) const {
    if (name_.empty()) return work();
    if (::initgroups(name_.c_str(), group_) != 0 || ::setegid(group_) != 0 || ::seteuid(user_) != 0)
      return fail(ErrorCode::denied, "cannot become user '" + name_ + "': " + std::strerror(errno));
    auto result = work();
    if (::seteuid(0) != 0 || ::setegid(0) != 0 || ::initgroups("root", 0) != 0)
      return fail(ErrorCode::internal, std::string("cannot become root again: ") + std::strerror(errno));
    return result;
  }

 private:
  std::string name_;  // "": whoever runs this
  uid_t user_ = 0;
  gid_t group_ = 0;
};

// A repository that is there is kept: it holds profiles.
Result<bool> make_repository(const SetupArguments& arguments) {
  auto& files = os::real_file_system();
  repository::Options options{arguments.repository, arguments.state, false};
  auto made = repository::Repository::init(files, options);
  if (made) return true;
  if (made.error().code != ErrorCode::exists) return tl::unexpected(std::move(made).error());
  auto opened = repository::Repository::open(files, options);
  if (opened || opened.error().code == ErrorCode::busy) return false;
  return fail(std::move(opened).error().with("the repository that is there cannot be used"));
}

// The unit may write below its own home only; other places have to be named.
Result<std::string> write_drop_in(const SetupArguments& arguments) {
  std::string paths;
  auto places = arguments.desktops;
  places.insert(places.begin(), {arguments.repository, arguments.state});
  for (const auto& path : places)
    if ((path + "/").rfind(std::string(kServiceHome) + "/", 0) != 0) paths += " " + path;
  if (paths.empty() || ::geteuid() != 0 || arguments.drop_ins.empty()) return std::string();
  RS_CHECK(make_public_directory(arguments.drop_ins));
  auto file = os::join_path(arguments.drop_ins, "places.conf");
  auto text =
      "# Written by roamstead setup: where the coordinator may write besides its own directory.\n"
      "[Unit]\nRequiresMountsFor=" +
      paths.substr(1) + "\n[Service]\nReadWritePaths=" + paths.substr(1) + "\n";
  RS_CHECK(write_public_file(file, text));
  return file;
}

Result<void> write_config(const SetupArguments& arguments) {
  config::Config values;
  values.repository.directory = arguments.repository;
  values.repository.state = arguments.state;
  values.listen.address = arguments.listen;
  values.listen.names = {arguments.name};
  auto port = arguments.listen.substr(arguments.listen.rfind(':'));
  bool v6 = arguments.name.find(':') != std::string::npos;
  values.listen.public_address = (v6 ? "[" + arguments.name + "]" : arguments.name) + port;
  auto text = config::commented_file(values, {"repository.directory", "repository.state", "listen.address",
                                              "listen.public_address", "listen.names"});
  RS_CHECK(make_public_directory(os::join_path(os::parent_directory(arguments.config), config::kFolder)));
  return write_public_file(arguments.config, text);
}

Result<void> set_up(SetupArguments arguments, const Context& context) {
  auto& files = os::real_file_system();
  RS_TRY(bool configured, files.exists(arguments.config));
  if (configured)
    return fail(ErrorCode::exists, arguments.config + ": is there already; change it there, or move it away");
  if (arguments.name.empty()) arguments.name = host_name();
  if (!arguments.unattended) RS_CHECK(ask_all(arguments));
  RS_CHECK_CTX("--repo", check_place(arguments.repository));
  RS_CHECK_CTX("--state", check_place(arguments.state));
  for (const auto& place : arguments.desktops) RS_CHECK_CTX("--desktops", check_place(place));
  RS_CHECK_CTX("--name", config::check_host_name(arguments.name));
  RS_CHECK_CTX("--listen", config::check_listen_address(arguments.listen));
  RS_TRY(auto owner, Owner::find(arguments.user));
  RS_CHECK(owner.make_directory(arguments.repository));
  RS_CHECK(owner.make_directory(arguments.state));
  for (const auto& place : arguments.desktops) RS_CHECK(owner.make_directory(place));
  bool is_new = false;
  ::umask(077);
  RS_CHECK(owner.as_owner([&]() -> Result<void> {
    RS_TRY(is_new, make_repository(arguments));
    return identity::CertificateAuthority::open_or_create(
               files, os::join_path(arguments.state, server::kAuthorityDirectory))
        .map([](const identity::CertificateAuthority&) {});
  }));
  RS_TRY(auto drop_in, write_drop_in(arguments));
  // Last: while it is missing the service does not start, and set-up can be run again.
  RS_CHECK(write_config(arguments));
  std::string text =
      (is_new ? "Made the repository " : "Kept the repository that is there, ") + arguments.repository +
      ".\nIts keys are in " + os::join_path(arguments.repository, "keystore") +
      ": keep a copy of them elsewhere.\nThe authority's key is in " +
      os::join_path(arguments.state, server::kAuthorityDirectory) + ".\nWrote " + arguments.config;
  if (!drop_in.empty()) text += " and " + drop_in;
  text +=
      ".\nNext: systemctl daemon-reload && systemctl enable --now roamstead-coordinator.socket "
      "roamstead-coordinator.service";
  context.print({{"config", arguments.config},
                 {"repository", arguments.repository},
                 {"state", arguments.state},
                 {"name", arguments.name},
                 {"listen", arguments.listen},
                 {"new_repository", is_new},
                 {"drop_in", drop_in}},
                text);
  return {};
}

}  // namespace

void add_setup_verb(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<SetupArguments>();
  auto* verb = context.verb(app, "setup", "Make a coordinator's repository, authority and configuration",
                            [arguments, &context] { return set_up(*arguments, context); });
  verb->add_flag("--unattended", arguments->unattended,
                 "Ask nothing: take what options say, or the defaults");
  verb->add_option("--repo", arguments->repository, "Directory of the repository, on shared storage")
      ->capture_default_str();
  verb->add_option("--state", arguments->state, "Directory of the coordinator's state, on a local disk")
      ->capture_default_str();
  verb->add_option("--desktops", arguments->desktops,
                   "Where disks of pools are to lie (again for each): made, and writable for the service");
  verb->add_option("--name", arguments->name,
                   "Name or address by which desktops find this host (default: its name)");
  verb->add_option("--listen", arguments->listen, "Address and port to listen on")->capture_default_str();
  verb->add_option("--config", arguments->config, "The configuration file to write")->capture_default_str();
  verb->add_option("--user", arguments->user,
                   "Whom repository and state belong to, where root sets up (default: roamstead)");
  verb->add_option("--drop-ins", arguments->drop_ins,
                   "Where the unit is told which other directories it may write; \"\": nowhere")
      ->capture_default_str();
}

}  // namespace roamstead::cli
