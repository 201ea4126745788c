// CancelSource / CancelToken: one-way cancellation on the loop thread. The source outlives every
// operation that was given one of its tokens (operations are awaited, so scopes nest). Cancelling
// asks; the operation still completes by itself.
#pragma once

#include <utility>

namespace dedup {

class CancelSource;

// Intrusive list node of an operation that can be cancelled.
class CancelHook {
 public:
  virtual void on_cancel() = 0;

 protected:
  ~CancelHook() { unlink(); }
  CancelHook() = default;
  CancelHook(const CancelHook&) = delete;
  CancelHook& operator=(const CancelHook&) = delete;

  void link(CancelSource& source);
  void unlink() {
    if (x_previous != nullptr) *x_previous = x_next;
    if (x_next != nullptr) x_next->x_previous = x_previous;
    x_previous = nullptr;
    x_next = nullptr;
  }

 private:
  friend class CancelSource;
  CancelHook** x_previous = nullptr;
  CancelHook* x_next = nullptr;
};

class CancelToken {
 public:
  CancelToken() = default;  // never cancelled
  bool cancelled() const;
  CancelSource* source() const { return x_source; }

 private:
  friend class CancelSource;
  explicit CancelToken(CancelSource* source) : x_source(source) {}
  CancelSource* x_source = nullptr;
};

class CancelSource {
 public:
  CancelSource() = default;
  CancelSource(const CancelSource&) = delete;
  CancelSource& operator=(const CancelSource&) = delete;

  CancelToken token() { return CancelToken(this); }
  bool cancelled() const { return x_cancelled; }

  // Asks every linked operation to end; later ones end at once.
  void cancel() {
    x_cancelled = true;
    while (x_first != nullptr) {
      CancelHook* hook = x_first;
      hook->unlink();
      hook->on_cancel();
    }
  }

 private:
  friend class CancelHook;
  bool x_cancelled = false;
  CancelHook* x_first = nullptr;
};

inline bool CancelToken::cancelled() const {
  return x_source != nullptr && x_source->cancelled();
}

inline void CancelHook::link(CancelSource& source) {
  x_next = source.x_first;
  if (x_next != nullptr) x_next->x_previous = &x_next;
  x_previous = &source.x_first;
  source.x_first = this;
}

}  // namespace dedup
