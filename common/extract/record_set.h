// A set of MFT record numbers. They lie close together mostly, and there may be a million: a bit for each.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <map>
#include <set>

namespace roamstead::extract {

class RecordSet {
 public:
  RecordSet() = default;
  RecordSet(std::initializer_list<std::uint64_t> records) {
    for (const auto record : records) insert(record);
  }
  explicit RecordSet(const std::set<std::uint64_t>& records) { insert(records); }

  // Whether it was not there yet.
  bool insert(std::uint64_t record) {
    auto& word = groups_[record / kGroup][record % kGroup / 64];
    const auto bit = std::uint64_t{1} << record % 64;
    if ((word & bit) != 0) return false;
    word |= bit;
    ++size_;
    return true;
  }
  void insert(const std::set<std::uint64_t>& records) {
    for (const auto record : records) insert(record);
  }
  // Whether it was there.
  bool erase(std::uint64_t record) {
    const auto group = groups_.find(record / kGroup);
    if (group == groups_.end()) return false;
    auto& word = group->second[record % kGroup / 64];
    const auto bit = std::uint64_t{1} << record % 64;
    if ((word & bit) == 0) return false;
    word &= ~bit;
    --size_;
    if (group->second == Iterator::Groups::mapped_type{}) groups_.erase(group);
    return true;
  }
  std::size_t count(std::uint64_t record) const {
    const auto group = groups_.find(record / kGroup);
    return group == groups_.end() ? 0 : group->second[record % kGroup / 64] >> record % 64 & 1;
  }
  std::size_t size() const { return size_; }

  // In ascending order; what is inserted meanwhile may be passed over, and nothing may be erased.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = std::uint64_t;
    using difference_type = std::ptrdiff_t;
    using pointer = const std::uint64_t*;
    using reference = std::uint64_t;

    std::uint64_t operator*() const { return group_->first * kGroup + at_; }
    Iterator& operator++() {
      ++at_;
      settle();
      return *this;
    }
    bool operator==(const Iterator& other) const { return group_ == other.group_ && at_ == other.at_; }

   private:
    friend class RecordSet;
    using Groups = std::map<std::uint64_t, std::array<std::uint64_t, 4>>;
    Iterator(Groups::const_iterator group, Groups::const_iterator end) : group_(group), end_(end) {
      settle();
    }
    void settle() {
      while (group_ != end_) {
        for (; at_ < kGroup; at_ = (at_ / 64 + 1) * 64)
          if (const auto rest = group_->second[at_ / 64] >> at_ % 64; rest != 0) {
            at_ += static_cast<std::uint64_t>(std::countr_zero(rest));
            return;
          }
        ++group_;
        at_ = 0;
      }
    }

    Groups::const_iterator group_, end_;
    std::uint64_t at_ = 0;
  };
  Iterator begin() const { return {groups_.begin(), groups_.end()}; }
  Iterator end() const { return {groups_.end(), groups_.end()}; }

 private:
  // Small, so that numbers far from each other, which only liars name, cost little more than in a std::set.
  static constexpr std::uint64_t kGroup = 256;
  Iterator::Groups groups_;
  std::size_t size_ = 0;
};

}  // namespace roamstead::extract
