// A sorted map in pages cut by content. Immutable: an update makes new pages and a new root, and shares all
// others.
//
// Where pages end depends only on the sequence of entries, not on how it came about: a page ends after the
// first entry whose key is a cut key (page.h) once it has kMinPageBytes, or before the entry that would not
// fit. So equal maps have equal roots, whatever their history, and an edit rewrites pages only up to the next
// cut.
#pragma once

#include <functional>
#include <map>
#include <optional>

#include "coordinator/repository/page.h"

namespace roamstead::repository {

// Where pages are kept. Implementations are thread-safe.
class PageSource {
 public:
  virtual ~PageSource() = default;
  virtual Result<std::shared_ptr<const Page>> load(const ObjectId& id, KeyOrder order) = 0;
  virtual Result<ObjectId> save(ByteView page) = 0;
};

struct KeyLess {
  KeyOrder order;
  bool operator()(std::string_view a, std::string_view b) const { return compare_keys(order, a, b) < 0; }
  using is_transparent = void;
};
// New values, or none to remove the key.
using PageEdits = std::map<std::string, std::optional<Bytes>, KeyLess>;
inline PageEdits no_edits(KeyOrder order) { return PageEdits(KeyLess{order}); }

// A value of the map: the root page's id, zero for the empty map. The source must outlive it.
class PageTree {
 public:
  PageTree(PageSource& source, KeyOrder order, ObjectId root)
      : source_(&source), order_(order), root_(root) {}

  const ObjectId& root() const { return root_; }

  Result<std::optional<Bytes>> find(std::string_view key) const;
  // Visits entries with keys from `first` on in order ("" is before all), until `visit` returns false. The
  // views live as long as the call.
  using Visit = std::function<Result<bool>(std::string_view key, ByteView value)>;
  Result<void> scan(std::string_view first, const Visit& visit) const;
  // From the greatest key not above `first` on, or from the start if there is none.
  Result<void> scan_from_floor(std::string_view first, const Visit& visit) const;

  // The map with the edits applied. Removing what is not there changes nothing.
  Result<PageTree> apply(const PageEdits& edits) const;

  // Every page, roots first; `visit` may refuse to go below a page by returning false.
  Result<void> visit_pages(const std::function<Result<bool>(const ObjectId&, const Page&)>& visit) const;

 private:
  struct PageRef;
  Result<std::shared_ptr<const Page>> load(const ObjectId& id, std::optional<unsigned> level) const;
  Result<PageRef> find_page(unsigned level, std::string_view key) const;
  Result<PageEdits> apply_level(unsigned level, const PageEdits& edits) const;
  Result<ObjectId> build_above(unsigned level, PageEdits pages) const;
  Result<void> scan_page(const ObjectId& id, std::optional<unsigned> level, std::string_view first,
                         bool floor, bool& more, const Visit& visit) const;

  PageSource* source_;
  KeyOrder order_;
  ObjectId root_;
};

}  // namespace roamstead::repository
