"""The design that all pages for people share: style sheet, layout, and how a page is rendered and served."""
