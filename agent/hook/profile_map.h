// The state map (agent/core/state_map.h) as it lies in this process.
#pragma once

#include "agent/core/state_map.h"
#include "agent/hook/native.h"
#include "agent/hook/scope_filter.h"

namespace roamstead::hook {

using agent::state_map::Header;
using agent::state_map::Place;

struct MapView {
  const Header* header;
  agent::state_map::TableView table;
  ScopeFilter filter;
};

// Null while this user has no session, and in processes that are none of his.
extern std::atomic<const MapView*> current_map;

// Finds out whose process this is. False where there is nobody to ask for it.
bool find_user();
// Looks for the sections; at most once in a while when there are none.
void look_for_map();
// After may_go_on() has said no, or the filter is of another table: the table in use now, where the service
// has replaced it.
const MapView* renew_map(const MapView* view);

inline const MapView* map_now() {
  const auto* view = current_map.load(std::memory_order_acquire);
  if (view == nullptr) [[unlikely]] {
    look_for_map();
    view = current_map.load(std::memory_order_acquire);
    if (view == nullptr) return nullptr;
  }
  if ((view->header->flags.load(std::memory_order_relaxed) & agent::state_map::kOff) != 0) return nullptr;
  return view;
}

}  // namespace roamstead::hook
