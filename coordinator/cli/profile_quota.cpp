// roamstead profile show, quota: what a profile holds, and what it may hold.
#include <fmt/format.h>

#include "common/base/event.h"
#include "coordinator/cli/json_text.h"
#include "coordinator/cli/repository_access.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

struct QuotaArguments {
  RepositoryChoice choice;
  std::string profile;
  std::string quota;
};

Result<void> show(const QuotaArguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice,
                                  {{"command", "profile.show"}, {"profile", arguments.profile}}, context));
  auto own = result.value("quota_bytes", json());
  auto text = fmt::format(
      "{}: version {} of {}, holds {}, quota {}, {} open forks", arguments.profile, json_text(result, "head"),
      json_text(result, "versions"), human_bytes(result.value("logical_bytes", std::uint64_t{0})),
      own.is_null() ? std::string("as its pools say") : quota_shown(own.get<std::uint64_t>()),
      json_text(result, "open_forks"));
  for (const auto& session : json_list(result, "sessions")) {
    auto quota = session.value("quota_bytes", std::uint64_t{0});
    text += fmt::format("\nopen on {}: quota {}{}", json_text(session, "desktop"), quota_shown(quota),
                        quota == 0 ? std::string() : " of " + json_text(session, "quota_from"));
    if (session.value("over_quota", false))
      text += fmt::format("; OVER QUOTA: changes of {} more wait on the desktop [{}]",
                          human_bytes(session.value("refused_bytes", std::uint64_t{0})),
                          id_of(Event::over_quota));
  }
  context.print(result, text);
  return {};
}

Result<void> set(const QuotaArguments& arguments, const Context& context) {
  json request{{"command", "profile.quota"}, {"profile", arguments.profile}};
  if (arguments.quota != "default") {
    RS_TRY(request["quota_bytes"], parse_quota(arguments.quota));
  }
  RS_TRY(auto result, run_command(arguments.choice, request, context));
  context.print(result, "quota of " + arguments.profile + ": " +
                            (arguments.quota == "default" ? "as its pools say" : arguments.quota));
  return {};
}

}  // namespace

void add_profile_quota_verbs(CLI::App& noun, Context& context) {
  auto arguments = std::make_shared<QuotaArguments>();  // shared by the verbs, of which one runs
  auto* showing = context.verb(noun, "show", "What a profile holds and may hold, and who has it open",
                               [arguments, &context] { return show(*arguments, context); });
  auto* setting = context.verb(noun, "quota", "Limit what a profile may hold",
                               [arguments, &context] { return set(*arguments, context); });
  for (auto* each : {showing, setting}) {
    arguments->choice.add_to(*each);
    each->add_option("profile", arguments->profile, "The profile's name")->required();
  }
  setting->add_option("quota", arguments->quota, "20GiB; none: without limit; default: as its pools say")
      ->required();
}

}  // namespace roamstead::cli
