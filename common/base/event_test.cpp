// The table of events against the code, and the page made of it.
#include "common/base/event.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace roamstead {
namespace {

namespace fs = std::filesystem;

std::string contents_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Every source of ours but tests, with its text.
template <class Visit>
void for_each_source(std::initializer_list<const char*> folders, Visit visit) {
  for (const char* folder : folders)
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(ROAMSTEAD_SOURCE_DIR) / folder)) {
      auto name = entry.path().filename().string();
      auto ending = entry.path().extension();
      if ((ending != ".cpp" && ending != ".h") || name.find("_test.") != std::string::npos ||
          entry.path().generic_string().find("/testing/") != std::string::npos)
        continue;
      visit(entry.path(), contents_of(entry.path()));
    }
}

TEST_CASE("every event has an id of its own, in order, and says what it means and what to do") {
  std::string before;
  std::set<std::string_view> titles;
  for (const auto& event : events()) {
    CAPTURE(event.id);
    CHECK(event.id.size() == 6);
    CHECK(event.id.substr(0, 2) == "RS");
    CHECK(std::string(event.id) > before);
    before = event.id;
    CHECK(titles.insert(event.title).second);
    CHECK(event.title.back() != '.');
    CHECK(event.meaning.back() == '.');
    CHECK(event.action.back() == '.');
    CHECK(find_event(event.id) == &event);
  }
}

TEST_CASE("an id is found in a line, whatever else is in brackets there") {
  CHECK(event_in(event_text(Event::over_quota, "profile 'a'")) == "RS1310");
  CHECK(event_in("warning: session [1]: [RS9999] [RSxxxx] [RS1310] full") == "RS1310");
  for (const char* text : {"", "[RS", "[RS1310", "[RS131]", "RS1310", "[RS0000]"})
    CHECK(event_in(text).empty());
  CHECK(find_event("rs1310") == find_event("RS1310"));
  CHECK(find_event("RS131") == nullptr);
  CHECK(find_event("RS13100") == nullptr);
}

TEST_CASE("every event of the table is used in the code") {
  std::set<std::string> used;
  for_each_source({"common", "coordinator", "agent"}, [&](const fs::path&, const std::string& text) {
    for (auto at = text.find("Event::"); at != std::string::npos; at = text.find("Event::", at + 1)) {
      auto begin = at + 7, end = begin;
      while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) || text[end] == '_'))
        ++end;
      used.insert(text.substr(begin, end - begin));
    }
  });
  for (const auto& event : events()) CHECK_MESSAGE(used.count(std::string(event.name)) == 1, event.name);
}

// What an operator reads in the coordinator's log has an id; verbs and mounts of the command line have none.
TEST_CASE("the coordinator warns of nothing without an id") {
  for_each_source({"coordinator"}, [&](const fs::path& path, const std::string& text) {
    auto folder = path.parent_path().filename().string();
    if (folder == "cli" || folder == "diskfs") return;
    for (const char* call : {"log_warning(", "log_error("})
      CHECK_MESSAGE(text.find(call) == std::string::npos, path.string() << " has " << call);
  });
}

TEST_CASE("docs/events.md is the table") {
  CHECK_MESSAGE(contents_of(fs::path(ROAMSTEAD_SOURCE_DIR) / "docs/events.md") == events_page(),
                "make it anew: roamstead explain --markdown > docs/events.md");
}

}  // namespace
}  // namespace roamstead
