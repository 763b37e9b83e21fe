// Settings for agents: read or refused with the line, and what was read an agent takes. Then
// configuration files with anything in them: read or refused, with every problem on a line of its own that
// names the file; and what was read, written out again, is read as the same.
#include <algorithm>
#include <cstdlib>

#include "coordinator/config/agent_settings_file.h"
#include "coordinator/config/loader.h"
#include "coordinator/config/text.h"
#include "tests/support/memory_file_system.h"

using namespace roamstead;

namespace {

constexpr const char* kFile = "/etc/roamstead/coordinator.toml";

Result<config::Loaded> load(ByteView main, ByteView more) {
  support::MemoryFileSystem files;
  auto put = [&](const std::string& path, ByteView content) {
    if (!os::write_file_durably(files, path, content)) std::abort();
  };
  if (!files.make_directories("/etc/roamstead/conf.d")) std::abort();
  put(kFile, main);
  if (!more.empty()) put("/etc/roamstead/conf.d/10.toml", more);
  return config::load(files, {kFile, false, {}});
}

void read_agent_settings(ByteView input) {
  const auto read = config::parse_agent_settings(as_text(input), "settings.toml");
  if (!read && read.error().message.find("settings.toml:") == std::string::npos) std::abort();
  if (!read) return;
  if (!settings::check_sent_size(*read)) std::abort();
  for (const auto& each : *read)
    if (!settings::check_sent(each)) std::abort();
  const auto kept = settings::decode_sent(settings::encode_sent(*read));
  if (!kept || *kept != *read) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 16384) return 0;
  const auto input = std::as_bytes(std::span(data, size));
  read_agent_settings(input);
  // A NUL parts the two files.
  const auto cut =
      static_cast<std::size_t>(std::find(input.begin(), input.end(), std::byte{0}) - input.begin());
  const auto loaded = load(input.first(cut), input.subspan(std::min(cut + 1, size)));
  if (!loaded) {
    if (loaded.error().message.find("/etc/roamstead/") == std::string::npos) std::abort();
    return 0;
  }
  (void)config::check_complete(loaded->config);
  const auto text = config::settings_text(*loaded, true);
  const auto again = load(as_bytes(text), {});
  if (!again || !config::changed_keys(loaded->config, again->config).empty()) std::abort();
  return 0;
}
