#include "coordinator/repository/page_diff.h"

#include <algorithm>

namespace roamstead::repository {
namespace {

// A place in one tree: at a page that has not been looked into, or at an entry of a leaf.
class Side {
 public:
  Side(PageSource& source, KeyOrder order, const ObjectId& root) : source_(source), order_(order) {
    if (!root.is_zero()) root_ = root;
  }

  bool at_end() const { return !root_ && open_.empty(); }
  bool at_page() const { return root_ || (!open_.empty() && open_.back().page->level() > 0); }
  // Of the page: the height of the tree below and with it; the root's is not known, and counts as greatest.
  unsigned height() const { return root_ ? kMaxLevel + 1 : open_.back().page->level(); }
  ObjectId page() const { return root_ ? *root_ : open_.back().page->child(open_.back().at); }
  // The first key of the page, or the key of the entry; "" where the root's is not known.
  std::string_view key() const { return root_ ? std::string_view() : entry().key; }
  ByteView value() const { return entry().value; }

  Result<void> look_into_page() {
    std::optional<unsigned> level;
    if (!root_) level = open_.back().page->level() - 1;
    RS_TRY(auto page, source_.load(this->page(), order_));
    if (level && page->level() != *level)
      return fail(ErrorCode::corrupt, "page " + this->page().short_text() + " is of level " +
                                          std::to_string(page->level()) + ", " + std::to_string(*level) +
                                          " expected");
    root_.reset();
    open_.push_back({std::move(page), 0});
    return {};
  }

  void next() {
    root_.reset();
    while (!open_.empty() && ++open_.back().at == open_.back().page->size()) open_.pop_back();
  }

 private:
  struct Open {
    std::shared_ptr<const Page> page;
    std::size_t at;
  };
  const PageEntry& entry() const { return (*open_.back().page)[open_.back().at]; }

  PageSource& source_;
  KeyOrder order_;
  std::optional<ObjectId> root_;  // not looked into yet
  std::vector<Open> open_;        // from the root down
};

}  // namespace

Result<void> diff_pages(PageSource& source, KeyOrder order, const ObjectId& before, const ObjectId& after,
                        const PageDiffVisit& visit) {
  Side a(source, order, before), b(source, order, after);
  while (!a.at_end() || !b.at_end()) {
    const bool pages = a.at_page() && b.at_page();
    if (pages && a.page() == b.page()) {
      a.next();
      b.next();
      continue;
    }
    // Which of the two stands before the other.
    const int compared = a.at_end() ? 1 : b.at_end() ? -1 : compare_keys(order, a.key(), b.key());
    if (pages) {
      // The higher one first; of equals the one that starts earlier: the other may be met again whole.
      const bool a_first = a.height() != b.height() ? a.height() > b.height() : compared <= 0;
      RS_CHECK(a_first ? a.look_into_page() : b.look_into_page());
    } else if (a.at_page() && compared <= 0) {
      RS_CHECK(a.look_into_page());
    } else if (b.at_page() && compared >= 0) {
      RS_CHECK(b.look_into_page());
    } else if (compared < 0) {
      RS_CHECK(visit(a.key(), a.value(), std::nullopt));
      a.next();
    } else if (compared > 0) {
      RS_CHECK(visit(b.key(), std::nullopt, b.value()));
      b.next();
    } else {
      if (!std::equal(a.value().begin(), a.value().end(), b.value().begin(), b.value().end()))
        RS_CHECK(visit(a.key(), a.value(), b.value()));
      a.next();
      b.next();
    }
  }
  return {};
}

}  // namespace roamstead::repository
