// roamstead desktop, assign, unassign, assignments, session: who may open what, and who has it open.
#include <fmt/format.h>

#include <filesystem>

#include "coordinator/cli/json_text.h"
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
  std::string pool;
  std::string until;
  std::string disk;
  std::uint32_t partition = 0;
  std::uint64_t within_seconds = 60;
  bool all = false;
};

// The directory is made before the desktop is enrolled, so that what is likely to fail fails first.
Result<void> enroll(const Arguments& arguments, const Context& context) {
  auto& files = os::real_file_system();
  RS_CHECK(files.make_directories(arguments.out));
  RS_TRY(bool there, files.exists(os::join_path(arguments.out, "key.pem")));
  if (there) return fail(ErrorCode::exists, arguments.out + ": holds the identity of a desktop already");
  json request{{"command", "desktop.enroll"}, {"desktop", arguments.desktop}};
  if (!arguments.address.empty()) request["address"] = arguments.address;
  if (!arguments.pool.empty()) request["pool"] = arguments.pool;
  RS_TRY(auto issued, run_command(arguments.choice, request, context));
  json identity{{"desktop", json_text(issued, "desktop")}, {"coordinator", json_text(issued, "coordinator")}};
  auto write = [&](const char* name, const std::string& text) {
    return os::write_file_durably(files, os::join_path(arguments.out, name), as_bytes(text));
  };
  RS_CHECK(write("key.pem", json_text(issued, "key_pem")));
  RS_CHECK(write("cert.pem", json_text(issued, "certificate_pem")));
  RS_CHECK(write("ca.pem", json_text(issued, "ca_pem")));
  RS_CHECK(write("desktop.json", identity.dump(2) + "\n"));
  identity["serial"] = json_text(issued, "serial");
  identity["directory"] = arguments.out;
  context.print(identity, "desktop " + arguments.desktop + " enrolled; its identity is in " + arguments.out);
  return {};
}

Result<void> list_desktops(const Arguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice, {{"command", "desktop.list"}}, context));
  std::vector<std::vector<std::string>> rows{{"DESKTOP", "POOL", "ENROLLED", "STATE", "CERTIFICATE"}};
  for (const auto& desktop : json_list(result, "desktops"))
    rows.push_back({json_text(desktop, "desktop"), json_text(desktop, "pool"),
                    json_time(desktop.value("enrolled_100ns", json())),
                    desktop.value("revoked", false) ? "revoked" : "enrolled", json_text(desktop, "serial")});
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
  RS_CHECK(put_end(request, arguments.until));
  RS_TRY(auto result, run_command(arguments.choice, request, context));
  context.print(result, "profile " + arguments.profile + (add ? " assigned to " : " no longer assigned to ") +
                            arguments.desktop);
  return {};
}

Result<void> list_assignments(const Arguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice, {{"command", "assignment.list"}}, context));
  std::vector<std::vector<std::string>> rows{{"DESKTOP", "PROFILE", "UNTIL"}};
  for (const auto& each : json_list(result, "assignments"))
    rows.push_back({json_text(each, "desktop"), json_text(each, "profile"),
                    json_time(each.value("until_100ns", json()))});
  for (const auto& rule : json_list(result, "rules"))
    rows.push_back({"pool " + json_text(rule, "pool"), "group " + json_text(rule, "group"),
                    json_time(rule.value("until_100ns", json()))});
  context.print(result, table(rows));
  return {};
}

Result<void> list_sessions(const Arguments& arguments, const Context& context) {
  RS_TRY(auto result,
         run_command(arguments.choice, {{"command", "session.list"}, {"all", arguments.all}}, context));
  std::vector<std::vector<std::string>> rows{
      {"SESSION", "PROFILE", "DESKTOP", "STATE", "OPENED", "PINNED", "SAVED", "LEASE"}};
  for (const auto& session : json_list(result, "sessions")) {
    auto lease = session.find("lease_seconds_left");
    auto state = json_text(session, "state");
    if (auto mode = json_text(session, "mode"); mode == "reader" || mode == "concurrent")
      state += ", " + mode;
    if (const auto use = json_text(session, "use"); use == "preparing" || use == "ready")
      state += ", " + use + " for a log-on";
    if (session.value("vanished", false)) state += ", vanished";
    if (session.contains("wanted_by")) state += ", wanted by " + json_text(session, "wanted_by");
    rows.push_back(
        {json_text(session, "session"), json_text(session, "profile"), json_text(session, "desktop"), state,
         json_time(session.value("opened_100ns", json())), json_text(session, "pinned_version"),
         json_text(session, "last_version"),
         lease != session.end() && lease->is_number() ? fmt::format("{:.0f} s", lease->get<double>()) : "-"});
  }
  context.print(result, table(rows));
  return {};
}

Result<void> close_session(const Arguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice,
                                  {{"command", "session.close"},
                                   {"session", arguments.session},
                                   {"within_seconds", arguments.within_seconds}},
                                  context));
  context.print(result, "asked for the log-out of " + arguments.session + "; see session list");
  return {};
}

Result<void> extract_session(const Arguments& arguments, const Context& context) {
  // The coordinator may run in another directory.
  json request{{"command", "session.extract"},
               {"session", arguments.session},
               {"disk", std::filesystem::absolute(arguments.disk).string()},
               {"partition", arguments.partition}};
  RS_TRY(auto result, run_command(arguments.choice, request, context));
  auto text = json_text(result, "records") + " changes of session " + json_text(result, "session") +
              " found on " + arguments.disk;
  if (result.contains("version")) text += ", kept beside the head as version " + json_text(result, "version");
  for (const auto& item : json_list(result, "held_back"))
    text += "\nheld back: " + json_text(item, "path") + ": " + json_text(item, "reason");
  context.print(result, text);
  return {};
}

Result<void> recover_layer(const Arguments& arguments, const Context& context) {
  json request{{"command", "session.recover-layer"}, {"desktop", arguments.desktop}};
  if (!arguments.disk.empty()) request["disk"] = std::filesystem::absolute(arguments.disk).string();
  if (arguments.partition != 0) request["partition"] = arguments.partition;
  RS_TRY(auto result, run_command(arguments.choice, request, context));
  std::string text;
  for (const auto& session : json_list(result, "sessions")) {
    text += json_text(session, "profile") + ": " + json_text(session, "records") + " changes found on " +
            json_text(result, "disk");
    if (session.contains("version"))
      text += ", kept beside the head as version " + json_text(session, "version") + "; see 'profile forks'";
    text += "\n";
    for (const auto& item : json_list(session, "held_back"))
      text += "held back: " + json_text(item, "path") + ": " + json_text(item, "reason") + "\n";
  }
  context.print(result, text);
  return {};
}

Result<void> set_disk(const Arguments& arguments, const Context& context) {
  json request{{"command", "desktop.disk"},
               {"desktop", arguments.desktop},
               {"disk", arguments.disk == "none" ? "" : std::filesystem::absolute(arguments.disk).string()},
               {"partition", arguments.partition}};
  RS_TRY(auto result, run_command(arguments.choice, request, context));
  context.print(result, arguments.disk == "none"
                            ? "the disk of " + arguments.desktop + " is not known any more"
                            : "the disk of " + arguments.desktop + " is " + json_text(result, "disk"));
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
  enrolling->add_option("--pool", arguments->pool, "The pool it belongs to (default: default)");
  enrolling->add_option("--address", arguments->address, "host:port where the desktop finds the coordinator");
  verb(*desktop, "list", "All desktops", list_desktops);
  auto* revoking = verb(*desktop, "revoke", "Refuse a desktop's certificate from now on", revoke);
  revoking->add_option("name", arguments->desktop, "The desktop's name")->required();

  auto* placing = verb(*desktop, "disk", "Note where a desktop's disk is on this host", set_disk);
  placing->add_option("name", arguments->desktop, "The desktop's name")->required();
  placing->add_option("disk", arguments->disk, "Its top layer; none: forget it")->required();
  placing->add_option("--partition", arguments->partition, "The partition that holds the profile");

  auto add_pair = [&](CLI::App* added) {
    added->add_option("desktop", arguments->desktop, "The desktop's name")->required();
    added->add_option("profile", arguments->profile, "The profile's name")->required();
  };
  auto* assigning = verb(
      app, "assign", "Let a desktop open a profile",
      [](const Arguments& given, const Context& shown) { return change_assignment(given, shown, true); });
  add_pair(assigning);
  assigning->add_option("--until", arguments->until, "When that ends: 2026-12-31, 2026-12-31T18:00, 8h, 30d");
  add_pair(verb(app, "unassign", "Let it no more", [](const Arguments& given, const Context& shown) {
    return change_assignment(given, shown, false);
  }));
  verb(app, "assignments", "Which desktop may open which profile", list_assignments);

  auto* session = app.add_subcommand("session", "Who has which profile open");
  session->require_subcommand(1);
  verb(*session, "list", "Sessions, active ones unless --all is given", list_sessions)
      ->add_flag("--all", arguments->all, "Ended ones too");
  auto* closing = verb(*session, "close", "Ask a desktop to log its user out", close_session);
  closing->add_option("session", arguments->session, "The session's id, or the profile's name")->required();
  closing->add_option("--within", arguments->within_seconds, "Seconds it has for that")
      ->default_val(arguments->within_seconds);
  auto* recovering =
      verb(*session, "recover-layer",
           "Save what a desktop that has vanished did not send, from its disk, as forks", recover_layer);
  recovering->add_option("desktop", arguments->desktop, "The desktop's name")->required();
  recovering->add_option("--disk", arguments->disk,
                         "The top layer of its disk (default: as 'desktop disk' noted); it is only read");
  recovering->add_option("--partition", arguments->partition, "The partition that holds the profile");
  auto* extracting =
      verb(*session, "extract", "Save what a dead desktop did not send, from its disk", extract_session);
  extracting->add_option("session", arguments->session, "The session's id, or the profile's name")
      ->required();
  extracting->add_option("--disk", arguments->disk, "The desktop's disk (the top of its chain)")->required();
  extracting->add_option("--partition", arguments->partition,
                         "Number of the partition; 0: the first with NTFS");
}

}  // namespace roamstead::cli
