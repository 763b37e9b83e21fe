// roamstead top: how a coordinator is doing, live in a terminal.
#include <iostream>
#include <thread>

#include "coordinator/cli/repository_access.h"
#include "coordinator/cli/terminal.h"
#include "coordinator/cli/top_view.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr double kLeastInterval = 0.1, kMostInterval = 3600;  // seconds

struct TopArguments {
  RepositoryChoice choice;
  double interval = 1;
  std::uint64_t count = 0;  // 0: until told to end
};

Result<Measurement> measure(const TopArguments& arguments, const Context& context) {
  Measurement made;
  RS_TRY(made.status, ask_running_coordinator(arguments.choice, {{"command", "status.show"}}, context));
  RS_TRY(made.sessions, ask_running_coordinator(arguments.choice, {{"command", "session.list"}}, context));
  return made;
}

// One after the other, each over an interval of its own.
Result<void> print_top(const TopArguments& arguments, const Context& context, std::uint64_t count) {
  RS_TRY(auto before, measure(arguments, context));
  for (std::uint64_t i = 0; i < count; ++i) {
    std::this_thread::sleep_for(std::chrono::duration<double>(arguments.interval));
    RS_TRY(auto now, measure(arguments, context));
    const auto numbers = top_numbers(before, now);
    context.printed = true;
    if (context.json)  // one line each
      std::cout << numbers.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
    else
      std::cout << (i > 0 ? "\n" : "") << top_text(numbers, {1000, 200, false, ""}) << std::flush;
    before = std::move(now);
  }
  return {};
}

// A coordinator that does not answer is waited for: it may be starting again.
Result<void> draw_top(const TopArguments& arguments, const Context& context) {
  RS_TRY(auto before, measure(arguments, context));
  auto numbers = top_numbers(before, before);
  std::string note = "q ends";
  Screen screen;
  const auto interval =
      std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(arguments.interval));
  auto next = Clock::now() + interval;
  for (;;) {
    const auto size = terminal_size();
    screen.draw(top_text(numbers, {size.rows, size.columns, wants_color(), note}));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
    if (left.count() > 0) {
      if (screen.wait(left) == Screen::Wish::end) return {};
      continue;
    }
    next = Clock::now() + interval;
    auto now = measure(arguments, context);
    if (now) {
      numbers = top_numbers(before, *now);
      before = std::move(*now);
      note = "q ends";
    } else {
      note = now.error().to_string();
    }
  }
}

Result<void> run_top(const TopArguments& arguments, const Context& context) {
  if (!(arguments.interval >= kLeastInterval && arguments.interval <= kMostInterval))
    return fail(ErrorCode::invalid_argument, "--interval is 0.1 to 3600 seconds");
  if (draws_on_terminal() && !context.json && arguments.count == 0) return draw_top(arguments, context);
  return print_top(arguments, context, std::max<std::uint64_t>(1, arguments.count));
}

}  // namespace

void add_top_verb(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<TopArguments>();
  auto* top = context.verb(app, "top", "How the coordinator is doing: log-ins, loads, commits, sessions",
                           [arguments, &context] { return run_top(*arguments, context); });
  arguments->choice.add_to(*top);
  top->add_option("--interval", arguments->interval, "Seconds between two looks (default: 1)");
  top->add_option("--count", arguments->count,
                  "Print so many looks, one below the other, and end; without a terminal: 1");
}

}  // namespace roamstead::cli
