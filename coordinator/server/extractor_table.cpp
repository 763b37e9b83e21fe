#include "coordinator/server/extractor_table.h"

#include <algorithm>

#include "common/base/event.h"
#include "common/base/sha256.h"

namespace roamstead::server {

std::shared_ptr<extract::Extractor> ExtractorTable::find(const std::string& disk_path) {
  const auto digest = sha256(as_bytes(disk_path));
  const auto map_name = Guid::from(ByteView(digest).first(16)).to_string() + ".map";
  std::lock_guard lock(mutex_);
  const auto known = std::find_if(known_.begin(), known_.end(),
                                  [&](const Known& entry) { return entry.map_name == map_name; });
  if (known != known_.end()) {
    known_.splice(known_.begin(), known_, known);
  } else {
    make_room(map_name);
    extract::Extractor::Options options{os::join_path(directory_, map_name)};
    known_.push_front({map_name, std::make_shared<extract::Extractor>(files_, std::move(options))});
    if (known_.size() > kMostOpen) known_.pop_back();
  }
  return known_.front().extractor;
}

// Any map but those in use and `map_name` itself may go: it is made again when it is missed.
void ExtractorTable::make_room(const std::string& map_name) {
  if (auto made = files_.make_directories(directory_); !made)
    log_event(Event::cluster_maps_unkept, "cluster maps are not kept: {}", made.error().to_string());
  auto names = files_.list_directory(directory_);
  if (!names) return;
  auto left = names->size();
  for (const auto& name : *names) {
    if (left < kMostMaps) return;
    const bool used = name == map_name || std::any_of(known_.begin(), known_.end(), [&](const Known& entry) {
                        return name.starts_with(entry.map_name);
                      });
    if (!used && files_.remove(os::join_path(directory_, name))) --left;
  }
}

}  // namespace roamstead::server
