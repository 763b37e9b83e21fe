#include "coordinator/repository/hive_diff.h"

#include "coordinator/repository/page_diff.h"

namespace roamstead::repository {
namespace {

class HiveDiffer {
 public:
  using Visit = std::function<void(const Tree::KeyDifference&)>;
  HiveDiffer(ProfileObjects& objects, const ObjectId& before, const ObjectId& after, const Visit& visit)
      : before_(objects, before), after_(objects, after), visit_(visit) {}

  Result<void> entry(std::string_view at, std::optional<ByteView> old_stored,
                     std::optional<ByteView> new_stored) {
    RS_TRY(auto place, parse_place(at));
    Tree::KeyDifference difference;
    difference.change = !old_stored   ? Tree::Change::added
                        : !new_stored ? Tree::Change::removed
                                      : Tree::Change::changed;
    RS_TRY(difference.key, key_path(place, new_stored.has_value()));
    return place.is_value ? value(difference, old_stored, new_stored)
                          : key(difference, old_stored, new_stored);
  }

 private:
  Result<void> key(Tree::KeyDifference& difference, std::optional<ByteView> old_stored,
                   std::optional<ByteView> new_stored) {
    std::optional<KeyRecord> old_key, new_key;
    if (old_stored) {
      RS_TRY(old_key, before_.load_key(*old_stored));
      difference.key_before = &old_key->entry;
    }
    if (new_stored) {
      RS_TRY(new_key, after_.load_key(*new_stored));
      difference.key_after = &new_key->entry;
    }
    const bool same = old_key && new_key && old_key->entry.class_name == new_key->entry.class_name &&
                      old_key->entry.security == new_key->entry.security;
    if (!same) visit_(difference);
    return {};
  }

  Result<void> value(Tree::KeyDifference& difference, std::optional<ByteView> old_stored,
                     std::optional<ByteView> new_stored) {
    std::optional<ValueRecord> old_record, new_record;
    std::optional<profile::RegistryValue> old_value, new_value;
    if (old_stored) {
      RS_TRY(old_record, before_.load_value(*old_stored));
      difference.value_before = &old_value.emplace(old_record->value());
    }
    if (new_stored) {
      RS_TRY(new_record, after_.load_value(*new_stored));
      difference.value_after = &new_value.emplace(new_record->value());
    }
    const bool same = old_record && new_record && old_record->type == new_record->type &&
                      old_record->size_bytes == new_record->size_bytes &&
                      old_record->content == new_record->content;
    if (!same) visit_(difference);
    return {};
  }

  // As in the newer of the two that has the key. Values of one key follow each other.
  Result<profile::KeyPath> key_path(const ParsedPlace& place, bool in_after) {
    if (place.record == last_record_ && in_after == last_in_after_) return last_path_;
    const auto& hive = in_after ? after_ : before_;
    RS_TRY(auto stored, hive.tree().find(place.record));
    if (!stored) return fail(ErrorCode::corrupt, "hive page: a value without its key");
    RS_TRY(auto record, hive.load_key(*stored));
    RS_TRY(last_path_, (in_after ? after_paths_ : before_paths_).of(place, record));
    last_record_ = std::string(place.record);
    last_in_after_ = in_after;
    return last_path_;
  }

  HiveView before_, after_;
  KeyPaths before_paths_{before_}, after_paths_{after_};
  const Visit& visit_;
  std::string last_record_;
  bool last_in_after_ = false;
  profile::KeyPath last_path_;
};

}  // namespace

Result<void> diff_hives(ProfileObjects& objects, const ObjectId& before, const ObjectId& after,
                        const std::function<void(const Tree::KeyDifference&)>& visit) {
  HiveDiffer differ(objects, before, after, visit);
  return diff_pages(
      objects, KeyOrder::bytes, before, after,
      [&](std::string_view at, std::optional<ByteView> old_stored, std::optional<ByteView> new_stored) {
        return differ.entry(at, old_stored, new_stored);
      });
}

}  // namespace roamstead::repository
