// On a narrow page a diagram keeps its size, so that its words stay readable, and the box around it scrolls.
mermaid.initialize({
  theme: "neutral",
  securityLevel: "strict",
  fontFamily: "system-ui, sans-serif",
  flowchart: { useMaxWidth: false },
});
