// Manual pages (man(7) macros) from a program's command tree.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/manual/command_tree.h"

namespace roamstead::manual {

struct Section {
  std::string title;  // "EXIT STATUS"
  std::string text;   // plain; a blank line begins a paragraph
};

struct PageFacts {
  std::string version;            // "0.1.0"
  int section = 1;                // of the manual
  std::vector<Section> more;      // behind the options
  std::vector<std::string> also;  // "roamstead(1)"
};

struct Page {
  std::string file_name;  // "roamstead-disk.1"
  std::string content;
};

// One page that has everything of a program without commands.
Page program_page(const Command& program, const PageFacts& facts);
// A page that lists the commands, and one for each of them with all that is below it.
std::vector<Page> program_pages(const Command& program, const PageFacts& facts);

// Text as roff: nothing in it is taken for a request or an escape.
std::string escaped(std::string_view text);
// ".TH" and NAME of a page about something else.
std::string page_head(const std::string& name, int section, const std::string& version,
                      const std::string& description);

}  // namespace roamstead::manual
