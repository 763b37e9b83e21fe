// roamstead desktop, assign, unassign, assignments, session: who may open what, and who has it open.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <filesystem>

#include "coordinator/cli/repository_access.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

// The arguments of all verbs here; each uses some.
struct Arguments {
  RepositoryChoice choice;
  std::string desktop;
  std::string profile;
  std::string session;
  std::string out;
  std::string address;
  std::string disk;
  std::uint32_t partition = 0;
  bool all = false;
};

std::string time_text(const json& time_100ns) {
  constexpr std::uint64_t kUnixEpoch = 116'444'736'000'000'000;
  auto time = time_100ns.is_number_unsigned() ? time_100ns.get<std::uint64_t>() : 0;
  if (time < kUnixEpoch) return "-";
  return fmt::format("{:%Y-%m-%d %H:%M:%S}Z",
                     fmt::gmtime(static_cast<std::time_t>((time - kUnixEpoch) / 10'000'000)));
}

std::string text_of(const json& object, const char* name) {
  auto found = object.find(name);
  if (found == object.end()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

const json& list_of(const json& object, const char* name) {
  static const json empty = json::array();
  auto found = object.find(name);
  return found != object.end() && found->is_array() ? *found : empty;
}

// The directory is made before the desktop is enrolled, so that what is likely to fail fails first.
Result<void> enroll(const Arguments& arguments, const Context& context) {
  auto& files = os::real_file_system();
  RS_CHECK(files.make_directories(arguments.out));
  RS_TRY(bool there, files.exists(os::join_path(arguments.out, "key.pem")));
  if (there) return fail(ErrorCode::exists, arguments.out + ": holds the identity of a desktop already");
  json request{{"command", "desktop.enroll"}, {"desktop", arguments.desktop}};
  if (!arguments.address.empty()) request["address"] = arguments.address;
  RS_TRY(auto issued, run_command(arguments.choice, request, context));
  json identity{{"desktop", text_of(issued, "desktop")}, {"coordinator", text_of(issued, "coordinator")}};
  auto write = [&](const char* name, const std::string& text) {
    return os::write_file_durably(files, os::join_path(arguments.out, name), as_bytes(text));
  };
  RS_CHECK(write("key.pem", text_of(issued, "key_pem")));
  RS_CHECK(write("cert.pem", text_of(issued, "certificate_pem")));
  RS_CHECK(write("ca.pem", text_of(issued, "ca_pem")));
  RS_CHECK(write("desktop.json", identity.dump(2) + "\n"));
  identity["serial"] = text_of(issued, "serial");
  identity["directory"] = arguments.out;
  context.print(identity, "desktop " + arguments.desktop + " enrolled; its identity is in " + arguments.out);
  return {};
}

Result<void> list_desktops(const Arguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice, {{"command", "desktop.list"}}, context));
  std::vector<std::vector<std::string>> rows{{"DESKTOP", "ENROLLED", "STATE", "CERTIFICATE"}};
  for (const auto& desktop : list_of(result, "desktops"))
    rows.push_back({text_of(desktop, "desktop"), time_text(desktop.value("enrolled_100ns", json())),
                    desktop.value("revoked", false) ? "revoked" : "enrolled", text_of(desktop, "serial")});
  context.print(result, table(rows));
  return {};
}

Result<void> revoke(const Arguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice,
                                  {{"command", "desktop.revoke"}, {"desktop", arguments.desktop}}, context));
  context.print(result, "desktop " + arguments.desktop + " revoked");
  return {};
}

Result<void> change_assignment(const Arguments& arguments, const Context& context, bool add) {
  json request{{"command", add ? "assignment.add" : "assignment.remove"},
               {"desktop", arguments.desktop},
               {"profile", arguments.profile}};
  RS_TRY(auto result, run_command(arguments.choice, request, context));
  context.print(result, "profile " + arguments.profile + (add ? " assigned to " : " no longer assigned to ") +
                            arguments.desktop);
  return {};
}

Result<void> list_assignments(const Arguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice, {{"command", "assignment.list"}}, context));
  std::vector<std::vector<std::string>> rows{{"DESKTOP", "PROFILE"}};
  for (const auto& each : list_of(result, "assignments"))
    rows.push_back({text_of(each, "desktop"), text_of(each, "profile")});
  context.print(result, table(rows));
  return {};
}

Result<void> list_sessions(const Arguments& arguments, const Context& context) {
  RS_TRY(auto result,
         run_command(arguments.choice, {{"command", "session.list"}, {"all", arguments.all}}, context));
  std::vector<std::vector<std::string>> rows{
      {"SESSION", "PROFILE", "DESKTOP", "STATE", "OPENED", "PINNED", "SAVED", "LEASE"}};
  for (const auto& session : list_of(result, "sessions")) {
    auto lease = session.find("lease_seconds_left");
    rows.push_back(
        {text_of(session, "session"), text_of(session, "profile"), text_of(session, "desktop"),
         text_of(session, "state"), time_text(session.value("opened_100ns", json())),
         text_of(session, "pinned_version"), text_of(session, "last_version"),
         lease != session.end() && lease->is_number() ? fmt::format("{:.0f} s", lease->get<double>()) : "-"});
  }
  context.print(result, table(rows));
  return {};
}

Result<void> extract_session(const Arguments& arguments, const Context& context) {
  // The coordinator may run in another directory.
  json request{{"command", "session.extract"},
               {"session", arguments.session},
               {"disk", std::filesystem::absolute(arguments.disk).string()},
               {"partition", arguments.partition}};
  RS_TRY(auto result, run_command(arguments.choice, request, context));
  auto text = text_of(result, "records") + " changes of session " + text_of(result, "session") +
              " found on " + arguments.disk;
  if (result.contains("version")) text += ", kept beside the head as version " + text_of(result, "version");
  for (const auto& item : list_of(result, "held_back"))
    text += "\nheld back: " + text_of(item, "path") + ": " + text_of(item, "reason");
  context.print(result, text);
  return {};
}

}  // namespace

void add_desktop_verbs(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<Arguments>();  // shared by the verbs, of which one runs
  auto verb = [&](CLI::App& noun, const char* name, const char* description, auto action) {
    auto* added = context.verb(noun, name, description,
                               [arguments, &context, action] { return action(*arguments, context); });
    arguments->choice.add_to(*added);
    return added;
  };

  auto* desktop = app.add_subcommand("desktop", "Desktops and their certificates");
  desktop->require_subcommand(1);
  auto* enrolling =
      verb(*desktop, "enroll", "Make the identity of a desktop: key, certificate, address", enroll);
  enrolling->add_option("name", arguments->desktop, "The desktop's name")->required();
  enrolling->add_option("--out", arguments->out, "Directory for key.pem, cert.pem, ca.pem and desktop.json")
      ->required();
  enrolling->add_option("--address", arguments->address, "host:port where the desktop finds the coordinator");
  verb(*desktop, "list", "All desktops", list_desktops);
  auto* revoking = verb(*desktop, "revoke", "Refuse a desktop's certificate from now on", revoke);
  revoking->add_option("name", arguments->desktop, "The desktop's name")->required();

  auto add_pair = [&](CLI::App* added) {
    added->add_option("desktop", arguments->desktop, "The desktop's name")->required();
    added->add_option("profile", arguments->profile, "The profile's name")->required();
  };
  add_pair(verb(
      app, "assign", "Let a desktop open a profile",
      [](const Arguments& given, const Context& shown) { return change_assignment(given, shown, true); }));
  add_pair(verb(app, "unassign", "Let it no more", [](const Arguments& given, const Context& shown) {
    return change_assignment(given, shown, false);
  }));
  verb(app, "assignments", "Which desktop may open which profile", list_assignments);

  auto* session = app.add_subcommand("session", "Who has which profile open");
  session->require_subcommand(1);
  verb(*session, "list", "Sessions, active ones unless --all is given", list_sessions)
      ->add_flag("--all", arguments->all, "Ended ones too");
  auto* extracting =
      verb(*session, "extract", "Save what a dead desktop did not send, from its disk", extract_session);
  extracting->add_option("session", arguments->session, "The session's id, or the profile's name")
      ->required();
  extracting->add_option("--disk", arguments->disk, "The desktop's disk (the top of its chain)")->required();
  extracting->add_option("--partition", arguments->partition,
                         "Number of the partition; 0: the first with NTFS");
}

}  // namespace roamstead::cli
