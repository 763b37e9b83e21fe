#include "agent/core/item_table.h"

namespace roamstead::agent {
namespace {

// What programs changed, and what is loaded without being recorded yet, is known here alone. item.mutex is
// held.
bool is_all_recorded(const Item& item) {
  if (item.doubted || item.written || item.populating || item.tags_waiting || !item.released.empty() ||
      item.converting)
    return false;
  for (const auto& [name, state] : item.streams)
    if (!state.pending.empty() || !state.in_flight.empty()) return false;
  return true;
}

}  // namespace

std::shared_ptr<Item> ItemTable::find(std::uint64_t record) const {
  {
    std::shared_lock lock(mutex_);
    if (auto it = items_.find(record); it != items_.end()) return it->second;
    if (published_.count(record) == 0 && recovered_.count(record) == 0) return nullptr;
  }
  std::unique_lock lock(mutex_);
  if (auto it = items_.find(record); it != items_.end()) return it->second;  // another thread was faster
  const bool recovered = recovered_.count(record) != 0;
  if (!recovered && published_.count(record) == 0) return nullptr;
  auto item = wake_(record, recovered);
  resting(recovered).erase(record);
  if (item) items_[record] = item;
  return item;
}

void ItemTable::add(std::shared_ptr<Item> item) {
  std::unique_lock lock(mutex_);
  const auto record = item->record;
  published_.erase(record);
  recovered_.erase(record);
  items_[record] = std::move(item);
}

void ItemTable::add_resting(std::uint64_t record, bool recovered) {
  std::unique_lock lock(mutex_);
  items_.erase(record);
  resting(!recovered).erase(record);
  resting(recovered).insert(record);
}

void ItemTable::remove(std::uint64_t record) {
  std::unique_lock lock(mutex_);
  items_.erase(record);
  published_.erase(record);
  recovered_.erase(record);
}

void ItemTable::rest(std::shared_ptr<Item> item) {
  std::unique_lock lock(mutex_);
  const auto it = items_.find(item->record);
  // Two: the table's and the caller's. Nobody gets another while the table is locked, but through a list of
  // items with pending tags, in which an item with none is not.
  if (it == items_.end() || it->second != item || item.use_count() != 2) return;
  {
    // Elsewhere an item is locked before the table: not waited for, though nobody can have it.
    const std::unique_lock item_lock(item->mutex, std::try_to_lock);
    if (!item_lock || !is_all_recorded(*item)) return;
  }
  resting(item->recovered).insert(item->record);
  items_.erase(it);
  item.reset();  // while the table is locked: there are never two of one
}

std::size_t ItemTable::awake() const {
  std::shared_lock lock(mutex_);
  return items_.size();
}

}  // namespace roamstead::agent
