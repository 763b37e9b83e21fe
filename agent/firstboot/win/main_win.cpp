// roamstead-firstboot.exe: what is to run once on a desktop, for images without the agent.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "agent/firstboot/runner.h"
#include "agent/firstboot/win/machine_win.h"
#include "agent/firstboot/win/service_win.h"
#include "agent/win/base/program.h"

namespace roamstead::firstboot {
namespace {

constexpr const char* kHelp =
    "Runs what is to run once on a desktop, in order, each until it has succeeded.\n"
    "\n"
    "  roamstead-firstboot install            add the service that runs it at the next start, and then "
    "removes itself\n"
    "  roamstead-firstboot uninstall          stop the service and remove its entry\n"
    "  roamstead-firstboot run [--again]      run it here and now; --again: a failed step gets new attempts\n"
    "  roamstead-firstboot status [--json]    how far it is\n"
    "  roamstead-firstboot --service          as the service manager starts it\n"
    "\n"
    "  --directory DIR    where steps.json and the scripts are (%ProgramData%\\Roamstead\\firstboot)\n"
    "  --help, --version\n"
    "\n"
    "Exit status of 'run': 0 all is done, 1 an error, 2 wrong usage, 3 a step failed, 3010 Windows must be "
    "restarted.\n";
constexpr int kUsage = 2, kStepFailed = 3, kRestart = 3010;

struct Arguments {
  std::string verb;
  std::string folder;  // "": the usual one
  bool json = false;
  bool again = false;
};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

int problem(const Error& error) {
  const auto text = "roamstead-firstboot: " + error.to_string() + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
  return 1;
}

int usage(const std::string& what) {
  const auto text = "roamstead-firstboot: " + what + "; see --help\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
  return kUsage;
}

std::string usual_folder() { return win::program_data_folder() + "\\Roamstead\\firstboot"; }

int run(const Arguments& arguments, const std::string& folder) {
  WindowsMachine machine;
  const auto outcome = Runner(os::real_file_system(), machine, folder).run(arguments.again);
  if (!outcome) return problem(outcome.error());
  switch (*outcome) {
    case Outcome::done:
      print("all is done\n");
      return 0;
    case Outcome::restart:
      print("restart Windows, then run this again\n");
      return kRestart;
    case Outcome::failed:
    case Outcome::stopped:
      break;
  }
  print("a step failed; 'roamstead-firstboot status' says which\n");
  return kStepFailed;
}

int status(const Arguments& arguments, const std::string& folder) {
  const auto service = service_status();
  if (!service) return problem(service.error());
  const auto state = read_state(os::real_file_system(), folder);
  if (!state) return problem(state.error());
  if (arguments.json) {
    auto all = *state ? nlohmann::json::parse(state_json(**state)) : nlohmann::json{{"status", "not begun"}};
    all["service"] = *service;
    print(all.dump(2) + "\n");
    return 0;
  }
  print("service: " + *service +
        "\nsteps:   " + (*state ? std::string(to_string((*state)->status)) : "not begun") + "\n");
  if (!*state) return 0;
  if (!(*state)->error.empty()) print("error:   " + (*state)->error + "\n");
  for (const auto& step : (*state)->steps)
    print("  " + step.name + ": " + std::string(to_string(step.status)) + ", attempt " +
          std::to_string(step.attempts) + (step.exit ? ", exit status " + std::to_string(*step.exit) : "") +
          (step.error.empty() ? "" : ", " + step.error) + "\n");
  return 0;
}

int act(const Arguments& arguments) {
  const auto folder = arguments.folder.empty() ? usual_folder() : arguments.folder;
  if (arguments.verb == "run") return run(arguments, folder);
  if (arguments.verb == "status") return status(arguments, folder);
  Result<void> done;
  if (arguments.verb == "--service")
    done = run_as_service(folder);
  else if (arguments.verb == "install")
    done = install_service(arguments.folder);
  else if (arguments.verb == "uninstall")
    done = uninstall_service();
  else
    return usage(arguments.verb.empty() ? "say what to do" : "unknown command '" + arguments.verb + "'");
  return done ? 0 : problem(done.error());
}

int main_of(const std::vector<std::string>& words) {
  Arguments arguments;
  for (std::size_t at = 0; at < words.size(); ++at) {
    const auto& word = words[at];
    if (word == "--help" || word == "-h" || word == "/?") {
      print(kHelp);
      return 0;
    }
    if (word == "--version") {
      print("roamstead-firstboot " ROAMSTEAD_VERSION "\n");
      return 0;
    }
    if (word == "--json") {
      arguments.json = true;
    } else if (word == "--again") {
      arguments.again = true;
    } else if (word == "--directory" && at + 1 < words.size()) {
      arguments.folder = words[++at];
    } else if (arguments.verb.empty() && (word == "--service" || word[0] != '-')) {
      arguments.verb = word;
    } else {
      return usage("unexpected '" + word + "'");
    }
  }
  return act(arguments);
}

}  // namespace
}  // namespace roamstead::firstboot

int wmain(int count, wchar_t** words) {
  return roamstead::firstboot::main_of(roamstead::win::words_of(count, words));
}
