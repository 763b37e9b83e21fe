#include "coordinator/repository/page_tree.h"

namespace roamstead::repository {
namespace {

// Cuts a sequence of entries of one level into pages and notes, for the level above, each page under its
// first key.
class PageCutter {
 public:
  PageCutter(PageSource& source, KeyOrder order, unsigned level, PageEdits& made)
      : source_(source), order_(order), level_(level), made_(made) {}

  Result<void> add(std::string_view key, ByteView value) {
    auto bytes = page_entry_bytes({key, value});
    if (!entries_.empty() && bytes_ + bytes > kMaxPageBytes) RS_CHECK(cut());
    entries_.emplace_back(std::string(key), to_bytes(value));
    bytes_ += bytes;
    if (bytes_ >= kMinPageBytes && is_cut_key(key, level_)) RS_CHECK(cut());
    return {};
  }
  bool at_cut() const { return entries_.empty(); }
  Result<void> finish() { return entries_.empty() ? Result<void>{} : cut(); }

 private:
  Result<void> cut() {
    std::vector<PageEntry> views;
    views.reserve(entries_.size());
    for (const auto& [key, value] : entries_) views.push_back({key, value});
    RS_TRY(auto id, source_.save(encode_page(order_, level_, views)));
    made_[entries_.front().first] = to_bytes(id.bytes);
    entries_.clear();
    bytes_ = page_header_bytes();
    return {};
  }

  PageSource& source_;
  KeyOrder order_;
  unsigned level_;
  PageEdits& made_;
  std::vector<std::pair<std::string, Bytes>> entries_;
  std::size_t bytes_ = page_header_bytes();
};

Result<void> check_sizes(const PageEdits& edits) {
  for (const auto& [key, value] : edits)
    if (key.empty() || key.size() > kMaxKeyBytes || (value && value->size() > kMaxValueBytes))
      return fail(ErrorCode::internal, "a page entry of " + std::to_string(key.size()) + " and " +
                                           std::to_string(value ? value->size() : 0) + " bytes");
  return {};
}

}  // namespace

// A page of some level, with what its neighbours' keys tell about the range it covers.
struct PageTree::PageRef {
  std::shared_ptr<const Page> page;
  std::string first_key;
  std::optional<std::string> next_key;  // first key of the next page of the level; none: it is the last
};

Result<std::shared_ptr<const Page>> PageTree::load(const ObjectId& id, std::optional<unsigned> level) const {
  RS_TRY(auto page, source_->load(id, order_));
  if (level && page->level() != *level)
    return fail(ErrorCode::corrupt, "page " + id.short_text() + " is of level " +
                                        std::to_string(page->level()) + ", " + std::to_string(*level) +
                                        " expected");
  return page;
}

Result<std::optional<Bytes>> PageTree::find(std::string_view key) const {
  if (root_.is_zero()) return std::optional<Bytes>();
  RS_TRY(auto page, load(root_, std::nullopt));
  while (page->level() > 0) {
    auto next = page->upper_bound(key);
    if (next == 0) return std::optional<Bytes>();
    RS_TRY(page, load(page->child(next - 1), page->level() - 1));
  }
  auto at = page->lower_bound(key);
  if (at == page->size() || (*page)[at].key != key) return std::optional<Bytes>();
  return std::optional<Bytes>(to_bytes((*page)[at].value));
}

Result<void> PageTree::scan_page(const ObjectId& id, std::optional<unsigned> level, std::string_view first,
                                 bool floor, bool& more, const Visit& visit) const {
  RS_TRY(auto page, load(id, level));
  // Above the leaves the page that may hold `first` is the last one that does not start after it.
  std::size_t at = 0;
  if (page->level() > 0 || floor) {
    at = page->upper_bound(first);
    if (at > 0) --at;
  } else {
    at = page->lower_bound(first);
  }
  for (auto start = at; at < page->size() && more; ++at) {
    if (page->level() > 0) {
      RS_CHECK(scan_page(page->child(at), page->level() - 1, at == start ? first : std::string_view(), floor,
                         more, visit));
    } else {
      RS_TRY(more, visit((*page)[at].key, (*page)[at].value));
    }
  }
  return {};
}

Result<void> PageTree::scan(std::string_view first, const Visit& visit) const {
  if (root_.is_zero()) return {};
  bool more = true;
  return scan_page(root_, std::nullopt, first, false, more, visit);
}

Result<void> PageTree::scan_from_floor(std::string_view first, const Visit& visit) const {
  if (root_.is_zero()) return {};
  bool more = true;
  return scan_page(root_, std::nullopt, first, true, more, visit);
}

Result<PageTree::PageRef> PageTree::find_page(unsigned level, std::string_view key) const {
  PageRef found;
  RS_TRY(found.page, load(root_, std::nullopt));
  while (found.page->level() > level) {
    auto above = found.page;
    auto next = above->upper_bound(key);
    auto at = next == 0 ? 0 : next - 1;
    if (at + 1 < above->size()) found.next_key = std::string((*above)[at + 1].key);
    RS_TRY(found.page, load(above->child(at), above->level() - 1));
    if (found.page->entries().front().key != (*above)[at].key)
      return fail(ErrorCode::corrupt, "page " + above->child(at).short_text() +
                                          " does not start with the key it is listed under");
  }
  found.first_key = std::string(found.page->entries().front().key);
  return found;
}

// Applies edits to the pages of one level and returns the edits that this means for the level above: pages
// that are gone and pages that are new. Untouched pages are neither read nor written.
Result<PageEdits> PageTree::apply_level(unsigned level, const PageEdits& edits) const {
  auto above = no_edits(order_);
  auto less = edits.key_comp();
  auto edit = edits.begin();
  while (edit != edits.end()) {
    PageCutter cutter(*source_, order_, level, above);
    auto next_page = std::optional<std::string>(edit->first);
    do {
      RS_TRY(auto old, find_page(level, *next_page));
      above.try_emplace(old.first_key,
                        std::nullopt);  // keeps the new page of that name, if the cutter has made it
      for (const auto& entry : old.page->entries()) {
        for (; edit != edits.end() && less(edit->first, entry.key); ++edit)
          if (edit->second) RS_CHECK(cutter.add(edit->first, *edit->second));
        if (edit != edits.end() && edit->first == entry.key) {
          if (edit->second) RS_CHECK(cutter.add(edit->first, *edit->second));
          ++edit;
        } else {
          RS_CHECK(cutter.add(entry.key, entry.value));
        }
      }
      // Edits after the last entry belong here as long as the next page does not start before them.
      for (; edit != edits.end() && (!old.next_key || less(edit->first, *old.next_key)); ++edit)
        if (edit->second) RS_CHECK(cutter.add(edit->first, *edit->second));
      next_page = old.next_key;
    } while (next_page && !cutter.at_cut());
    RS_CHECK(cutter.finish());
  }
  return above;
}

// The pages of a level are all known: puts as many levels on top as it takes to have one root.
Result<ObjectId> PageTree::build_above(unsigned level, PageEdits pages) const {
  for (;;) {
    std::erase_if(pages, [](const auto& page) { return !page.second; });
    if (pages.empty()) return ObjectId{};
    if (pages.size() == 1) return ObjectId::from(*pages.begin()->second);
    if (++level > kMaxLevel) return fail(ErrorCode::internal, "a page tree too high");
    auto above = no_edits(order_);
    PageCutter cutter(*source_, order_, level, above);
    for (const auto& [key, id] : pages) RS_CHECK(cutter.add(key, *id));
    RS_CHECK(cutter.finish());
    pages = std::move(above);
  }
}

Result<PageTree> PageTree::apply(const PageEdits& edits) const {
  RS_CHECK(check_sizes(edits));
  if (edits.empty()) return *this;
  if (root_.is_zero()) {
    auto pages = no_edits(order_);
    PageCutter cutter(*source_, order_, 0, pages);
    for (const auto& [key, value] : edits)
      if (value) RS_CHECK(cutter.add(key, *value));
    RS_CHECK(cutter.finish());
    RS_TRY(auto root, build_above(0, std::move(pages)));
    return PageTree(*source_, order_, root);
  }
  RS_TRY(auto top, load(root_, std::nullopt));
  auto pending = edits;
  for (unsigned level = 0; level <= top->level(); ++level) {
    RS_TRY(pending, apply_level(level, pending));
  }
  RS_TRY(auto root, build_above(top->level(), std::move(pending)));
  // Where a level has shrunk to a single page, that page is the root, as if the map had been built afresh.
  while (!root.is_zero()) {
    RS_TRY(auto page, load(root, std::nullopt));
    if (page->level() == 0 || page->size() > 1) break;
    root = page->child(0);
  }
  return PageTree(*source_, order_, root);
}

Result<void> PageTree::visit_pages(
    const std::function<Result<bool>(const ObjectId&, const Page&)>& visit) const {
  if (root_.is_zero()) return {};
  std::vector<std::pair<ObjectId, std::optional<unsigned>>> open{{root_, std::nullopt}};
  while (!open.empty()) {
    auto [id, level] = open.back();
    open.pop_back();
    RS_TRY(auto page, load(id, level));
    RS_TRY(auto deeper, visit(id, *page));
    if (!deeper || page->level() == 0) continue;
    for (std::size_t i = page->size(); i-- > 0;) open.emplace_back(page->child(i), page->level() - 1);
  }
  return {};
}

}  // namespace roamstead::repository
