// roamstead explain: what an event's id in a log line or an error text means, and what to do.
#include <fmt/format.h>

#include "common/base/event.h"
#include "coordinator/cli/verbs.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

struct ExplainArguments {
  std::string id;
  bool list = false;
  bool markdown = false;
};

const char* severity_text(LogLevel severity) {
  constexpr const char* kTexts[] = {"debug", "info", "warning", "error"};
  return kTexts[static_cast<int>(severity)];
}

json event_json(const EventFacts& event) {
  return {{"id", event.id},
          {"severity", severity_text(event.severity)},
          {"title", event.title},
          {"meaning", event.meaning},
          {"what_to_do", event.action}};
}

// Lines of at most so many characters.
std::string wrapped(std::string_view text, std::size_t width) {
  std::string result;
  std::size_t column = 0;
  while (!text.empty()) {
    auto end = std::min(text.find(' '), text.size());
    if (column != 0 && column + 1 + end > width) {
      result += '\n';
      column = 0;
    } else if (column != 0) {
      result += ' ';
      ++column;
    }
    result += text.substr(0, end);
    column += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

Result<void> list_events(const Context& context) {
  auto all = json::array();
  std::vector<std::vector<std::string>> rows{{"ID", "SEVERITY", "EVENT"}};
  for (const auto& event : events()) {
    all.push_back(event_json(event));
    rows.push_back({std::string(event.id), severity_text(event.severity), std::string(event.title)});
  }
  context.print(all, table(rows));
  return {};
}

Result<void> explain(const ExplainArguments& arguments, const Context& context) {
  if (arguments.markdown) {
    context.print(events_page(), events_page());
    return {};
  }
  if (arguments.list) return list_events(context);
  if (arguments.id.empty())
    return fail(ErrorCode::invalid_argument, "which event? Say its id, or --list for all of them");
  // Also as it stands in a line of the log, or the whole line.
  auto named = event_in(arguments.id);
  const auto* event = find_event(named.empty() ? std::string_view(arguments.id) : named);
  if (event == nullptr)
    return fail(ErrorCode::not_found, "no event '" + arguments.id + "'; --list shows all");
  constexpr std::size_t kWidth = 78;
  context.print(event_json(*event),
                fmt::format("{}: {} ({})\n\n{}\n\nWhat to do:\n{}", event->id, event->title,
                            severity_text(event->severity), wrapped(event->meaning, kWidth),
                            wrapped(event->action, kWidth)));
  return {};
}

}  // namespace

void add_explain_verb(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<ExplainArguments>();
  auto* verb = app.add_subcommand("explain", "What an id in a log line or an error means, and what to do");
  verb->add_flag("--json", context.json, "Print the result as JSON");
  verb->add_option("id", arguments->id, "Such as RS1310, or the line it stands in");
  verb->add_flag("--list", arguments->list, "All of them");
  verb->add_flag("--markdown", arguments->markdown, "All of them, as docs/events.md");
  verb->callback([arguments, &context] {
    context.run = [arguments, &context] { return explain(*arguments, context); };
  });
}

}  // namespace roamstead::cli
