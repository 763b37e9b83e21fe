// The service of the hook's test: the agent's loader, interception, state map and pipe as they are, over a
// folder, with a coordinator in memory and a simulation of the registry (live_keys.h).
//
//   hooked_service VOLUME HIVE-ROOT PATIENCE [LIBRARY]    e.g. C:\volume Software\Hooked 8000 (ms)
// The profile: VOLUME\Users\alice; the hive's root: HKEY_CURRENT_USER\HIVE-ROOT; LIBRARY: the hook for 32-bit
// programs. Says "ready", then answers lines of standard input: away, back, slow, report, loaded (names of
// files loaded), quit.
#include <windows.h>
// After it.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "agent/core/announcing_volume.h"
#include "agent/core/loader.h"
#include "agent/core/registry_loader.h"
#include "agent/testing/memory_link.h"
#include "agent/win/intercept/injection.h"
#include "agent/win/intercept/map_sections.h"
#include "agent/win/intercept/pipe_server.h"
#include "common/registry/test_hive.h"
#include "tests/support/must.h"
#include "tests/wine/hooked/directory_volume.h"
#include "tests/wine/hooked/live_keys.h"

namespace roamstead::agent {
namespace {

using support::must;
using testing::MemoryLink;

constexpr const char* kProfile = "Users/alice";

std::string content_of(const std::string& path, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += path + "\r\n";
  text.resize(bytes);
  return text;
}

void fill_profile(MemoryLink& link) {
  for (int folder = 0; folder < 20; ++folder)
    for (int file = 0; file < 100; ++file) {
      const auto path = "docs/d" + std::to_string(folder) + "/f" + std::to_string(file) + ".txt";
      link.add_file(path, content_of(path, static_cast<std::size_t>(100 + file * 37)));
    }
  link.add_file("big.bin", content_of("big.bin", 64 << 10));
  link.add_file("Größe/файл.txt", content_of("x", 1000));
  for (int i = 0; i < 300; ++i)
    link.add_file("many/m" + std::to_string(i), content_of("m" + std::to_string(i), 65536));
  for (int i = 0; i < 8; ++i)
    link.add_file("move/v" + std::to_string(i), content_of("v" + std::to_string(i), 5000));
}

support::KeyModel some_keys() {
  support::KeyModel model;
  const auto text = [](const std::string& value) {
    const auto units = to_utf16(value + std::string(1, '\0')).value();
    return to_bytes(std::as_bytes(std::span(units)));
  };
  for (int vendor = 0; vendor < 10; ++vendor)
    for (int app = 0; app < 50; ++app) {
      const auto path = "Vendor" + std::to_string(vendor) + "\\App" + std::to_string(app);
      for (int value = 0; value < 10; ++value)
        model.set_value(profile::KeyPath::parse(path).value(), "value" + std::to_string(value), REG_SZ,
                        text(path + " " + std::to_string(value)));
      for (auto at = profile::KeyPath::parse(path).value();; at = at.parent()) {
        model.at(at).entry = {{}, registry::test::kTime, registry::test::descriptor()};
        if (at.is_root()) break;
      }
    }
  return model;
}

int serve(const std::string& folder, const std::string& hive_root, std::chrono::milliseconds patience,
          const std::string& library32) {
  MemoryLink link;
  fill_profile(link);
  link.add_hive("NTUSER.DAT", some_keys());
  const auto opened = must(link.open({"alice", kProfile, std::nullopt}));
  testing::DirectoryVolume directory(folder);
  AnnouncingVolume volume(directory, kProfile);
  must(volume.make_directories("ProgramData/Roamstead/staging"));
  must(volume.make_directories("Users"));
  const auto journal_path = std::string("ProgramData/Roamstead/provenance.journal");
  extract::JournalHeader head;
  head.session = opened.session;
  head.profile = "alice";
  head.profile_root = kProfile;
  head.staging_root = "ProgramData/Roamstead/staging";
  const bool again = must(volume.files().exists(volume.native_path(journal_path)));
  auto journal =
      again
          ? must(extract::ProvenanceJournal::open(volume.files(), volume.native_path(journal_path)))
          : must(extract::ProvenanceJournal::create(volume.files(), volume.native_path(journal_path), head));
  LoaderOptions options;
  options.patience = patience;
  Loader loader(link, opened.session_secret, volume, *journal, options);
  testing::LiveKeysPort port(volume, hive_root);
  RegistryLoader registry(link, opened.session_secret, volume, port, loader.gate(), loader.activity(),
                          {journal->header().session, kProfile, journal_path}, {patience, 1 << 20});
  loader.set_registry(&registry);
  profile::Entry root;
  root.kind = profile::EntryKind::directory;
  if (again) {
    must(loader.recover());
    profile::Entry hive;
    hive.kind = profile::EntryKind::registry;
    must(registry.recover({{profile::hive_paths().front(), hive}}));
  }
  must(loader.publish_root(root));

  const auto sid = must(win::own_sid());
  MapSections sections(sid);
  std::vector<StateMapPrefix> prefixes;
  prefixes.push_back({0, false, to_utf16("\\??\\" + folder + "\\Users\\alice").value()});
  prefixes.push_back({1, true, to_utf16("\\Registry\\User\\" + sid + "\\" + hive_root).value()});
  auto map = must(StateMapWriter::create(sections, prefixes, ::GetCurrentProcessId(),
                                         static_cast<std::uint32_t>(patience.count() + 1000)));
  map->set_load_library32(load_library_of_32_bits(library32));
  volume.announce_in(map.get());
  InterceptionConfig config;
  config.profile_root = kProfile;
  config.key_roots[1] = {profile::hive_paths().front(), {}};
  const auto interception = std::make_shared<Interception>(loader, volume, *map, config);
  PipeServer::Config pipe;
  pipe.find = [&](const std::string& user) { return user == sid ? interception : nullptr; };
  pipe.never_loads = [](const std::string&, const std::string& program) {
    return program.find("indexer") != std::string::npos;
  };
  auto server = must(PipeServer::start(pipe));
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line) && line.rfind("quit", 0) != 0;) {
    nlohmann::json told = {{"questions", interception->counters().questions.load()},
                           {"loaded_files", interception->counters().loaded_files.load()},
                           {"loaded_keys", interception->counters().loaded_keys.load()},
                           {"retries", interception->counters().retries.load()},
                           {"failures", interception->counters().failures.load()},
                           {"directories", loader.counters().directories_populated.load()},
                           {"items", loader.counters().items_published.load()},
                           {"fetches", loader.counters().fetches.load()},
                           {"known", map->known()},
                           {"keys", registry.progress().keys_loaded},
                           {"connections", server->connections()}};
    if (line.rfind("away", 0) == 0) link.away = true;
    if (line.rfind("back", 0) == 0) link.away = false;
    if (line.rfind("slow", 0) == 0) link.delay_ms = 20;
    if (line.rfind("fast", 0) == 0) link.delay_ms = 0;
    if (line.rfind("complete", 0) == 0) map->set_complete(0, true), map->set_complete(1, true);
    if (line.rfind("partial", 0) == 0) map->set_complete(0, false), map->set_complete(1, false);
    std::cout << told.dump() << std::endl;
  }
  map->set_flag(state_map::kOff, true);
  server.reset();
  volume.announce_in(nullptr);
  return 0;
}

}  // namespace
}  // namespace roamstead::agent

int main(int count, char** words) {
  if (count != 4 && count != 5) return 2;
  try {
    return roamstead::agent::serve(words[1], words[2], std::chrono::milliseconds(std::stoi(words[3])),
                                   count == 5 ? words[4] : "");
  } catch (const std::exception& error) {
    std::cerr << "hooked_service: " << error.what() << std::endl;
    return 1;
  }
}
